"""One file per command; `millstream.main` registers them."""
