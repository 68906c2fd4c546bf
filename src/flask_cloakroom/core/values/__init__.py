"""Values in a session: packed into bytes, merged between requests, and unpacked when they are read."""
