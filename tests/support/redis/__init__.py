"""Clients of Redis, and processes that use one server together."""
