"""Access to views: decorators, permissions, and the answers to refused requests."""
