"""Titles of items go to their compacted topic, where the worker's page finds them."""

from collections.abc import Mapping

import msgspec

from stream.config.settings import KafkaSettings
from stream.log.kafka import EventProducer
from stream.wire.schema import Item

__all__ = ["send_titles"]


def send_titles(titles: Mapping[str, str], kafka: KafkaSettings | None = None, topic: str = "items") -> None:
    """Write one record per item, keyed by its id, and wait until all are acknowledged.

    Args:
        titles: item id to title.
        kafka: how to reach the brokers; without it 127.0.0.1:9092.
        topic: where the page looks for them.

    Raises:
        MillstreamError: no topic, no brokers, or a record could not be delivered.
    """
    with EventProducer(kafka or KafkaSettings(), topic, role="titles") as producer:
        for item, title in titles.items():
            producer.send(item.encode("utf-8"), msgspec.json.encode(Item(item=item, title=title)))
        producer.flush()
