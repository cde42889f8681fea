"""The one home of the Kafka client. Nothing outside this package imports `kafka`."""

from stream.log.kafka import client_patches
from stream.log.kafka.acked_producer import AcknowledgedProducer, NotAcknowledged, NotWritten, Place
from stream.log.kafka.history import KafkaHistory
from stream.log.kafka.producer import EventProducer
from stream.log.kafka.topic_admin import differing_topics, ensure_topics, missing_topics, topic_plans
from stream.log.kafka.topic_reader import TopicReader, newest_record, record_at
from stream.log.kafka.transport import KafkaTransport

client_patches.apply()

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
