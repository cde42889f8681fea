"""Formats of files: compression, text encodings, delimited text, JSON lines, parquet."""
