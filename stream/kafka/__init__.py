"""The one home of the Kafka client. Nothing outside this package imports `kafka`."""

from stream.kafka.producer import EventProducer
from stream.kafka.reader import TopicReader, read_tail
from stream.kafka.topics import ensure_topics, missing_topics, topic_plans
from stream.kafka.transport import KafkaTransport

__all__ = [
    "EventProducer",
    "KafkaTransport",
    "TopicReader",
    "ensure_topics",
    "missing_topics",
    "read_tail",
    "topic_plans",
]
