"""Values for hypothesis, and comparisons of them."""
