"""User data: the data of ``user_session``, which belong to a user and outlive the user's sessions."""
