"""``user_session``: a dict that belongs to the user and is the same on every device."""
