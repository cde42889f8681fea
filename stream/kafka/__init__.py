"""The one home of the Kafka client. Nothing outside this package imports `kafka`."""

from stream.kafka import repairs
from stream.kafka.acknowledged import AcknowledgedProducer, NotAcknowledged, NotWritten, Place
from stream.kafka.history import KafkaHistory
from stream.kafka.producer import EventProducer
from stream.kafka.reader import TopicReader, newest_record, record_at
from stream.kafka.topics import differing_topics, ensure_topics, missing_topics, topic_plans
from stream.kafka.transport import KafkaTransport

repairs.apply()

__all__ = [
    "AcknowledgedProducer",
    "EventProducer",
    "KafkaHistory",
    "KafkaTransport",
    "NotAcknowledged",
    "NotWritten",
    "Place",
    "TopicReader",
    "differing_topics",
    "ensure_topics",
    "missing_topics",
    "newest_record",
    "record_at",
    "topic_plans",
]
