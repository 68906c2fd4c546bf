"""The error for Flask-WTF's names that do not belong to the CSRF protection."""

MESSAGE = (
    "belongs to Flask-WTF, which is not installed: this flask_wtf comes with flask-cloakroom-dropin and has only the "
    "CSRF protection. For forms run: pip install Flask-WTF"
)
