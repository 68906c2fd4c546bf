"""The keys of a login in the session, and the device note."""
