"""The data of a user that outlives sessions (``user_session``)."""
