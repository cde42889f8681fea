"""Workers that are killed anywhere, as often as you like, and a judge that compares what is left with an oracle."""
