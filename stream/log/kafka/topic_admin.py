"""The topics: what each is made as, which are missing, and making them."""

from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType

from stream.config.settings import KafkaSettings, Settings
from stream.errors import RefusedToStart
from stream.log.kafka.client import client_options, connecting

__all__ = [
    "TopicPlan",
    "differing_topics",
    "ensure_topics",
    "max_message_bytes",
    "missing_topics",
    "topic_names",
    "topic_plans",
]

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """How one topic is made."""

    name: str
    purpose: str
    partitions: int
    replication_factor: int
    configs: dict[str, str]


def topic_plans(settings: Settings) -> list[TopicPlan]:
    """Return the plan of every topic, in the order in which data passes them.

    Compacted topics get a bound on compaction lag and a week of tombstones, so that an erased user is gone from the log
    in time and a subscriber that was away for some days still learns of it.
    """
    topics = settings.topics
    shared = {"min.insync.replicas": str(topics.min_insync_replicas)}
    large = {"max.message.bytes": str(topics.max_message_bytes)}
    compacted = {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(7 * DAY_MS),
        "max.compaction.lag.ms": str(7 * DAY_MS),
        "segment.ms": str(DAY_MS),
    }
    kept = {"cleanup.policy": "delete"}
    rows = [
        (topics.events, "in: interactions", topics.partitions, kept | large),
        (topics.items, "in: what is known of the items", 1, compacted),
        (topics.recommendations, "out: the newest list of every user", topics.partitions, compacted | large),
        (topics.dead_letters, "out: events that could not be read", topics.partitions, kept | large),
        (topics.journal, "internal: one record per micro-batch", 1, kept | {"retention.ms": "-1"}),
    ]
    return [
        TopicPlan(
            name=name,
            purpose=purpose,
            partitions=partitions,
            replication_factor=topics.replication_factor,
            configs=configs | shared,
        )
        for name, purpose, partitions, configs in rows
    ]


def missing_topics(settings: Settings) -> list[str]:
    """Return the names of the topics that do not exist yet, in the order of `topic_plans`.

    Raises:
        BrokerUnreachable: no broker answered in `kafka.bootstrap_timeout_ms`.
    """
    existing = topic_names(settings.kafka)
    return [plan.name for plan in topic_plans(settings) if plan.name not in existing]


def topic_names(kafka: KafkaSettings) -> set[str]:
    """Return the names of all topics that this user may see.

    Raises:
        BrokerUnreachable: no broker answered in `kafka.bootstrap_timeout_ms`.
    """
    with connecting(kafka), _Admin(kafka) as admin:
        return set(admin.list_topics())


def differing_topics(settings: Settings) -> dict[str, list[str]]:
    """Return what is different in the topics that exist from what `ensure_topics` would make, by topic.

    Only what matters to correctness is compared: the cleanup policy, and that the largest record fits.

    Raises:
        BrokerUnreachable: no broker answered.
    """
    existing = topic_names(settings.kafka)
    plans = [plan for plan in topic_plans(settings) if plan.name in existing]
    with connecting(settings.kafka), _Admin(settings.kafka) as admin:
        resources = [ConfigResource(ConfigResourceType.TOPIC, plan.name) for plan in plans]
        found = admin.describe_configs(resources, config_filter="all")["topic"] if plans else {}
    return {plan.name: lines for plan in plans if (lines := _differences(plan, found.get(plan.name, {})))}


def _differences(plan: TopicPlan, found: dict[str, Any]) -> list[str]:
    lines = []
    for name in ("cleanup.policy", "max.message.bytes"):
        wanted, got = plan.configs.get(name), found.get(name, {}).get("value")
        if wanted is None or got is None:
            continue
        is_enough = int(got) >= int(wanted) if name == "max.message.bytes" else got == wanted
        if not is_enough:
            lines.append(f"{name} is {got}, expected {wanted}")
    return lines


def ensure_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing and return their names. Existing ones are left as they are.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the brokers refused a topic, for instance fewer brokers than `topics.replication_factor`.
    """
    missing = set(missing_topics(settings))
    created = []
    with connecting(settings.kafka), _Admin(settings.kafka) as admin:
        for plan in topic_plans(settings):
            if plan.name in missing and _create(admin, plan):
                created.append(plan.name)
    return created


def max_message_bytes(kafka: KafkaSettings, topic: str, default: int) -> int:
    """Return the topic's own limit for one record, or `default` when the brokers do not tell (no ACL, say)."""
    try:
        with _Admin(kafka) as admin:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            answer = admin.describe_configs([resource], config_filter="all")
        return min(default, int(answer["topic"][topic]["max.message.bytes"]["value"]))
    except (errors.KafkaError, KeyError, TypeError, ValueError):
        return default


def _create(admin: Any, plan: TopicPlan) -> bool:
    options = {
        "num_partitions": plan.partitions,
        "replication_factor": plan.replication_factor,
        "configs": plan.configs,
    }
    try:
        admin.create_topics({plan.name: options}, wait_for_metadata=True)
    except errors.TopicAlreadyExistsError:
        return False  # somebody was faster
    except errors.BrokerResponseError as error:
        raise RefusedToStart(
            f"topic {plan.name}: the brokers refused {plan.partitions} partitions with replication factor "
            f"{plan.replication_factor}: {error.message}; see topics.* in the settings"
        ) from error
    return True


class _Admin:
    """An admin client that is closed at the end of a `with` block."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._client = KafkaAdminClient(**client_options(kafka, "admin"))

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
