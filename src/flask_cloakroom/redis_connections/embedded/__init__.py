"""A Redis-compatible server that is started with the application (``embedded://``)."""
