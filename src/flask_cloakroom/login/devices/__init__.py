"""A user's logins on all devices: listed, watched and ended."""
