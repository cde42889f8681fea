"""Are the brokers there, are the topics right, do group, journal and clocks agree?"""

import time
from collections.abc import Iterator

from millstream.diagnosis.findings import Finding, error, ok, warning
from millstream.diagnosis.offset_agreement import agreement, held_back_findings, newest_entry_and_standings
from millstream.terminal.duration import duration
from stream.config.settings import Settings
from stream.errors import BrokerUnreachable, ConfigError, MillstreamError, RefusedToStart
from stream.log.kafka import TopicReader, topic_plans
from stream.log.kafka.cluster import ClusterFacts, TopicFacts, cluster_facts, topic_facts
from stream.log.kafka.topic_admin import TopicPlan

__all__ = ["broker_findings"]

FENCING_VERSION = 4
"""Below this version of InitProducerId (Kafka 2.7) a worker that was replaced can fence the one that replaced it."""
MAX_SKEW_SECONDS = 2.0
NEWEST_OFFSETS = 50
HOUR_MS = 3_600_000


def broker_findings(settings: Settings) -> list[Finding]:
    """Return what was found at the brokers; where nobody answers, that alone."""
    servers = settings.kafka.bootstrap_servers
    try:
        cluster = cluster_facts(settings.kafka)
        topics = topic_facts(settings.kafka, [plan.name for plan in topic_plans(settings)])
    except BrokerUnreachable as unreachable:
        return [error("brokers", str(unreachable), f"start them, or correct kafka.bootstrap_servers ({servers})")]
    except (ConfigError, RefusedToStart) as refused:
        return [error("brokers", str(refused), "see docs/security.md for examples of logins and rights")]
    findings = [*_cluster(cluster, settings), *_topics(topics, settings)]
    if any(finding.about == "topics" and "does not exist" in finding.message for finding in findings):
        return findings
    try:
        findings += agreement(*newest_entry_and_standings(settings), settings)
        findings += held_back_findings(settings)
        findings += _clocks(settings, topics)
    except MillstreamError as failed:
        findings.append(error("offsets", str(failed), "see docs/operating.md"))
    return findings


def _cluster(cluster: ClusterFacts, settings: Settings) -> Iterator[Finding]:
    needed = settings.topics.replication_factor
    told = f"{', '.join(cluster.brokers)} speak the protocol of Kafka {cluster.release}"
    if cluster.init_producer_id_version < FENCING_VERSION:
        yield error(
            "brokers", f"{told}: two workers at once would not be kept apart", "upgrade them to Kafka 2.7 or newer"
        )
    elif len(cluster.brokers) < needed:
        message = f"{told}: {len(cluster.brokers)} of them, and topics.replication_factor is {needed}"
        yield error("brokers", message, "start the others, or lower it")
    else:
        yield ok("brokers", told)


def _topics(topics: dict[str, TopicFacts], settings: Settings) -> Iterator[Finding]:
    for plan in topic_plans(settings):
        if plan.name not in topics:
            yield error("topics", f"{plan.name} does not exist", "run 'millstream topics create'")
            continue
        facts = topics[plan.name]
        differences = [*_layout(plan, facts), *_configs(plan, facts), *_retention(plan, facts, settings)]
        yield from differences or [
            ok("topics", f"{plan.name}: as planned, partitions {facts.num_partitions}, replicas {facts.num_replicas}")
        ]


def _layout(plan: TopicPlan, facts: TopicFacts) -> Iterator[Finding]:
    if facts.num_partitions != plan.partitions:
        message = f"{plan.name}: {facts.num_partitions} partitions, 'topics create' would make {plan.partitions}"
        fix = "set topics.partitions to what is there; a changed number needs a new model (docs/operating.md)"
        # The journal's order is its meaning; for the others the number is a matter of taste.
        is_wrong = plan.partitions == 1 and "journal" in plan.purpose
        yield error("topics", message, fix) if is_wrong else warning("topics", message, fix)
    if facts.num_replicas < plan.replication_factor:
        message = f"{plan.name}: {facts.num_replicas} replicas, expected {plan.replication_factor}"
        yield warning("topics", message, "add replicas with kafka-reassign-partitions.sh")
    if facts.num_under_replicated:
        message = f"{plan.name}: {facts.num_under_replicated} partitions have a replica that is behind or away"
        yield warning("topics", message, "look at the brokers: one may be down")


def _configs(plan: TopicPlan, facts: TopicFacts) -> Iterator[Finding]:
    if not facts.configs:
        yield warning("topics", f"{plan.name}: its settings may not be seen", "grant DescribeConfigs to this user")
    for name, wanted in plan.configs.items():
        got = facts.configs.get(name)
        if got is None or got == wanted or (name in _AT_LEAST and int(got) >= int(wanted)) or name == "retention.ms":
            continue
        message = f"{plan.name}: {name} is {got}, 'topics create' would make it {wanted}"
        fix = f"kafka-configs.sh --alter --topic {plan.name} --add-config {name}={wanted}"
        yield error("topics", message, fix) if name in _NEEDED else warning("topics", message, fix)


_AT_LEAST = ("max.message.bytes", "min.insync.replicas", "delete.retention.ms")
_NEEDED = ("cleanup.policy", "max.message.bytes")


def _retention(plan: TopicPlan, facts: TopicFacts, settings: Settings) -> Iterator[Finding]:
    """Judge how long records stay that a restart has to read again."""
    text = facts.configs.get("retention.ms", "-1")
    retention_ms = int(text)
    if retention_ms < 0 or facts.configs.get("cleanup.policy") == "compact":
        return
    told = f"{plan.name}: records leave after {duration(retention_ms / 1000)}"
    wanted = plan.configs.get("retention.ms", "-1")
    fix = f"kafka-configs.sh --alter --topic {plan.name} --add-config retention.ms={wanted}"
    if plan.name == settings.topics.journal:
        yield warning(
            "topics", f"{told}: 'millstream verify' and a start without checkpoint reach no further back", fix
        )
    elif plan.name == settings.topics.events and retention_ms < settings.checkpoints.interval_seconds * 1000 + HOUR_MS:
        message = f"{told}: a restart needs those since the newest checkpoint, after an outage too"
        yield warning("topics", message, f"{fix} (or some days)")


def _clocks(settings: Settings, topics: dict[str, TopicFacts]) -> Iterator[Finding]:
    """Compare this machine's clock with the newest time stamps: one from the future shows that a clock is wrong."""
    ahead_seconds = 0.0
    whose = "its producer's"
    for name in (settings.topics.events, settings.topics.journal):
        with TopicReader(settings.kafka, name, start="latest", role="doctor") as reader:
            reader.seek_back(NEWEST_OFFSETS)
            while not reader.caught_up():
                for record in reader.poll(1.0):
                    ahead = record.timestamp_ms / 1000 - time.time()
                    if ahead > ahead_seconds:
                        ahead_seconds = ahead
                        is_broker = topics[name].configs.get("message.timestamp.type") == "LogAppendTime"
                        whose = "the broker's" if is_broker else "its producer's"
    if ahead_seconds > MAX_SKEW_SECONDS:
        message = f"a record is stamped {duration(ahead_seconds)} after now: this clock or {whose} is wrong"
        fix = "let all machines ask a time server (chrony, systemd-timesyncd)"
        is_refused = ahead_seconds > settings.events.max_future_seconds
        yield error("clock", message, fix) if is_refused else warning("clock", message, fix)
    else:
        yield ok("clock", "no record among the newest is stamped later than this machine's now")
