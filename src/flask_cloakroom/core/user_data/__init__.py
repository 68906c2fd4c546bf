"""Data of a user that outlives their sessions (``user_session``)."""
