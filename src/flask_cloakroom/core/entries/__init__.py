"""Entries in the store: their format, their keys and their lifetimes."""
