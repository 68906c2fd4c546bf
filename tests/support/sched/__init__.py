"""The sample site: as a process, in a browser, and under attack."""
