"""Applications with logins, protection or ``user_session``, and browsers of their visitors."""
