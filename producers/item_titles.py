"""Titles of items go to their compacted topic, where the worker's page finds them."""

from collections.abc import Mapping

import msgspec

from stream.config.settings import Settings
from stream.log.kafka import EventProducer
from stream.wire.schema import Item

__all__ = ["send_titles"]


def send_titles(settings: Settings, titles: Mapping[str, str]) -> None:
    """Write one record per item, keyed by its id, and wait until all are acknowledged.

    Args:
        settings: connection and topic.
        titles: item id to title.

    Raises:
        MillstreamError: no topic, no brokers, or a record could not be delivered.
    """
    with EventProducer(settings.kafka, settings.topics.items, role="titles") as producer:
        for item, title in titles.items():
            producer.send(item.encode("utf-8"), msgspec.json.encode(Item(item=item, title=title)))
        producer.flush()
