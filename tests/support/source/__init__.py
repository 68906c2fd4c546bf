"""Measures of the package's source."""
