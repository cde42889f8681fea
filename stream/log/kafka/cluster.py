"""What the brokers say of themselves and of the topics."""

from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.protocol.api_key import ApiKey
from kafka.protocol.broker_version_data import BROKER_API_VERSIONS

from stream.config.settings import KafkaSettings
from stream.log.kafka.client import client_options, connecting

__all__ = ["ClusterFacts", "TopicFacts", "cluster_facts", "topic_facts"]


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The brokers, and the release of Kafka whose protocol the first that answered speaks."""

    brokers: tuple[str, ...]
    release: str
    """The newest that the client tells from others, as "4.3 or newer", when the broker may be a later one."""
    init_producer_id_version: int
    """Highest version that it knows of the request that fences a worker."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """How a topic is."""

    num_partitions: int
    num_replicas: int
    """Of the partition that has the fewest."""
    num_under_replicated: int
    """Partitions of which a replica is behind or away."""
    configs: dict[str, str]
    """Name to value; empty where this user may not see them."""


def cluster_facts(kafka: KafkaSettings) -> ClusterFacts:
    """Ask who the brokers are.

    Raises:
        BrokerUnreachable: no broker answered.
    """
    with connecting(kafka):
        admin = KafkaAdminClient(**client_options(kafka, "doctor"))
        try:
            manager: Any = admin._manager  # shown nowhere else by every broker; the client is pinned
            brokers = sorted(f"{broker.host}:{broker.port}" for broker in manager.cluster.brokers())
            spoken = manager.broker_version_data
            # Not admin.api_versions(): it fails on the first request that a newer broker has and the client does not.
            version = spoken.api_versions.get(ApiKey.InitProducerId, (0, -1))[1]
        finally:
            admin.close()
    return ClusterFacts(tuple(brokers), _release(spoken.broker_version), version)


def _release(inferred: tuple[int, ...]) -> str:
    return ".".join(map(str, inferred)) + (" or newer" if inferred >= max(BROKER_API_VERSIONS) else "")


def topic_facts(kafka: KafkaSettings, names: list[str]) -> dict[str, TopicFacts]:
    """Return how those of the topics are that exist.

    Raises:
        BrokerUnreachable: no broker answered.
    """
    with connecting(kafka):
        admin = KafkaAdminClient(**client_options(kafka, "doctor"))
        try:
            existing = set(admin.list_topics())
            wanted = [name for name in names if name in existing]
            told = admin.describe_topics(wanted) if wanted else []
            resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
            configs = admin.describe_configs(resources, config_filter="all").get("topic", {}) if wanted else {}
        finally:
            admin.close()
    return {topic["name"]: _facts(topic["partitions"], configs.get(topic["name"], {})) for topic in told}


def _facts(partitions: list[dict[str, Any]], configs: dict[str, Any]) -> TopicFacts:
    return TopicFacts(
        num_partitions=len(partitions),
        num_replicas=min((len(partition["replica_nodes"]) for partition in partitions), default=0),
        num_under_replicated=sum(len(p["isr_nodes"]) < len(p["replica_nodes"]) for p in partitions),
        configs={name: str(config["value"]) for name, config in configs.items() if config.get("value") is not None},
    )
