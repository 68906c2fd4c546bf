"""Real servers for tests: started from an empty folder on loopback, ended by their process id."""
