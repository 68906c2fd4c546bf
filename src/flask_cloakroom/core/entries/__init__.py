"""Entries in a store: their format, their keys, and how long they live."""
