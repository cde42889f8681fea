"""The `millstream` command: puts `stream`, `online_models` and `producers` together. Nothing imports it."""
