"""Error reporters, and a site whose error reports are searched for secrets."""
