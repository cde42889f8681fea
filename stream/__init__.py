"""The stream: events in, exactly-once micro-batches through the model, lists out.

`pipeline.py` is the way through. The wire modules (`schema`, `records`, `errors`, `settings`, `kafka`) import neither
torch nor the model, so that a producer or a subscriber stays light.
"""
