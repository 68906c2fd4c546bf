"""``user_session``: a dict that belongs to a user and is the same on every device."""
