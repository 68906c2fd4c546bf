"""The table of stores, and processes that use a store."""
