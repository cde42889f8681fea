"""Sending interaction events to Millstream from Python: one event, a file of them, or a simulated shop.

from producers import Event, EventSender

with EventSender() as sender:
    sender.send(Event(user="u-17850", item="85123A", type="purchase"))
"""

from producers.datasets import DATASETS, Dataset, dataset, read_titles
from producers.encoding import BadEvent, decode_event, encode_event, event_key
from producers.event_file import EventFile, ReadOptions
from producers.pacing import Pacer, paced
from producers.sender import EventSender
from stream.schema import Event

__all__ = [
    "BadEvent",
    "DATASETS",
    "Dataset",
    "Event",
    "EventFile",
    "EventSender",
    "Pacer",
    "ReadOptions",
    "dataset",
    "decode_event",
    "encode_event",
    "event_key",
    "paced",
    "read_titles",
]
