"""Two commits, one stream: whether both publish, journal and learn the same, bit for bit. See `__main__.py`."""
