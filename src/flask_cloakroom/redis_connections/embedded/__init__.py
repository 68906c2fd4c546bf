"""The embedded server: a Redis-compatible server that starts and ends with the application (``embedded://``)."""
