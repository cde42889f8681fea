"""Whether the default model wins: one pass over a stream of events beside strong peers, every event ranked first."""
