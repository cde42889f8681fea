"""The stream: events in, exactly-once micro-batches through the model, lists out.

`pipeline.py` is the way through. `errors.py` and the rooms `wire`, `config`, `log/kafka` and `http/api` import neither
torch nor the model, so that a producer or a subscriber stays light.
"""
