"""What `millstream status` and `millstream doctor` look at, and what they make of it."""
