"""Flask-Login's facts about itself, with the version of Flask-Login that has these names."""

__title__ = "Flask-Login"
__description__ = "Flask-Login's import name, with Flask-Cloakroom behind it."
__url__ = "https://github.com/maxcountryman/flask-login"
__version_info__ = ("0", "6", "3")
__version__ = ".".join(__version_info__)
__author__ = "the authors of Flask-Cloakroom"
__author_email__ = ""
__maintainer__ = "the authors of Flask-Cloakroom"
__license__ = "BSD-3-Clause"
__copyright__ = "the authors of Flask-Cloakroom"
