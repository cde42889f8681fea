"""Sending interaction events to Millstream from Python, and following the lists that it publishes.

from producers import Event, EventSender

with EventSender() as sender:
    sender.send(Event(user="u-17850", item="85123A", type="purchase"))
"""

from producers.event_encoding import BadEvent, OutgoingRecord, decode_event, encode_event, encode_record, event_key
from producers.event_sender import EventSender
from producers.files.datasets import DATASETS, Dataset, dataset, read_titles
from producers.files.event_file import EventFile, ReadOptions
from producers.files.event_files import EventFiles
from producers.item_titles import send_titles
from producers.list_subscription import ListSubscription, PublishedList
from producers.pacing import Pacer, paced
from stream.config.settings import KafkaSettings
from stream.wire.schema import Event

__all__ = [
    "BadEvent",
    "DATASETS",
    "Dataset",
    "Event",
    "EventFile",
    "EventFiles",
    "EventSender",
    "KafkaSettings",
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
    "send_titles",
]
