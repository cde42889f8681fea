"""The state that learns: ids, model and quality; effort by the lag; poison events."""
