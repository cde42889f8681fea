"""A made-up shop that sends events, and the malformed ones that it can be asked for."""
