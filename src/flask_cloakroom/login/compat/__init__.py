"""Old names of Flask-Login, and its test client."""
