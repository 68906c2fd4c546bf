"""Access to views: decorators, permissions, and the responses to refused requests."""
