"""What to say of Flask-WTF's names that are no part of the protection."""

MESSAGE = (
    "is Flask-WTF's, which is not installed: this flask_wtf comes with flask-cloakroom-dropin and has only the "
    "protection against request forgery. For forms: pip install Flask-WTF"
)
