"""The keys that a login has in the session."""
