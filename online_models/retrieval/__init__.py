"""Which items are scored, and the best of them."""
