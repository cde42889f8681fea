"""Sending interaction events to Millstream from Python, and following the lists that it publishes.

from producers import Event, EventSender

with EventSender() as sender:
    sender.send(Event(user="u-17850", item="85123A", type="purchase"))
"""

from producers.datasets import DATASETS, Dataset, dataset, read_titles
from producers.encoding import BadEvent, OutgoingRecord, decode_event, encode_event, encode_record, event_key
from producers.event_file import EventFile, ReadOptions
from producers.pacing import Pacer, paced
from producers.sender import EventSender
from producers.subscription import ListSubscription, PublishedList
from stream.wire.schema import Event

__all__ = [
    "BadEvent",
    "DATASETS",
    "Dataset",
    "Event",
    "EventFile",
    "EventSender",
    "ListSubscription",
    "OutgoingRecord",
    "Pacer",
    "PublishedList",
    "ReadOptions",
    "dataset",
    "decode_event",
    "encode_event",
    "encode_record",
    "event_key",
    "paced",
    "read_titles",
]
