"""The values of a session: packed into bytes, unpacked when they are read, and merged between requests."""
