"""Settings that work, and that one does not want in production."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from millstream.diagnosis.findings import Finding, error, ok, warning
from stream.config.loading import LoadedConfig
from stream.config.settings import KafkaSettings, Settings
from stream.http.host_check import is_loopback

__all__ = ["settings_findings"]


def settings_findings(loaded: LoadedConfig) -> list[Finding]:
    """Return what is unsafe or fragile in the effective settings and in the files that hold secrets."""
    settings = loaded.settings
    found = [
        *_connection(settings.kafka),
        *_durability(settings),
        *_ports(settings),
        *_leftovers(settings),
        *_secret_files(settings.kafka, loaded.origins),
    ]
    changed = f"{len(loaded.origins)} of them are not defaults"
    return found or [ok("settings", f"nothing that is unsafe or fragile; {changed}")]


def _connection(kafka: KafkaSettings) -> Iterator[Finding]:
    away = [
        server for server in kafka.bootstrap_servers.split(",") if not is_loopback(server.strip().rpartition(":")[0])
    ]
    protocol = kafka.security_protocol
    if away and protocol in ("PLAINTEXT", "SASL_PLAINTEXT"):
        what = "the password and every event" if protocol == "SASL_PLAINTEXT" else "every event"
        message = f"kafka.security_protocol = {protocol}: {what} can be read on the way to {', '.join(away)}"
        yield warning("connection", message, "set kafka.security_protocol = SASL_SSL or SSL: see docs/security.md")
    if protocol.endswith("SSL") and not kafka.ssl_check_hostname:
        message = "kafka.ssl_check_hostname = false: who has any certificate of your CA can pose as a broker"
        yield warning("connection", message, "give the brokers certificates for their host names, and switch it on")


def _durability(settings: Settings) -> Iterator[Finding]:
    topics, worker = settings.topics, settings.worker
    if topics.replication_factor < 3 or topics.min_insync_replicas < 2:
        message = (
            f"topics.replication_factor = {topics.replication_factor}, topics.min_insync_replicas = "
            f"{topics.min_insync_replicas}: topics made so lose data with one broker (fine on one machine)"
        )
        yield warning("durability", message, "in production: 3 and 2, before 'millstream topics create'")
    if worker.transaction_timeout_ms / 1000 < worker.commit_deadline_seconds:
        message = (
            f"worker.commit_deadline_seconds = {worker.commit_deadline_seconds:g} is longer than the "
            f"{worker.transaction_timeout_ms / 1000:g} s after which the brokers give a transaction up"
        )
        yield warning("durability", message, "set it below worker.transaction_timeout_ms")


def _ports(settings: Settings) -> Iterator[Finding]:
    if not is_loopback(settings.metrics.host):
        message = f"metrics.host = {settings.metrics.host}: the port has no login, and other machines reach it"
        yield warning("port", message, "let a firewall or network policy admit only Prometheus and the probes")


def _leftovers(settings: Settings) -> Iterator[Finding]:
    if settings.worker.resume_from != "agreement":
        message = f"worker.resume_from = {settings.worker.resume_from}: a disagreement of the offsets goes unseen"
        yield warning("leftover", message, "it is for one start: take it away again")
    if settings.log.level == "DEBUG":
        yield warning("leftover", "log.level = DEBUG: a line for every batch", "set it to INFO")


def _secret_files(kafka: KafkaSettings, origins: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the files that hold secrets, and those that should: a password in the settings file is in its backups."""
    in_settings = [name for name in ("kafka.sasl_plain_password", "kafka.ssl_password") if name in origins]
    for name in in_settings:
        origin = origins[name]
        if origin.startswith("file "):
            message = f"{name} stands in the settings {origin}"
            yield warning("secrets", message, f"put it into a file of its own, and its path into {name}_file")
            yield from _readable(Path(origin.removeprefix("file ")), "the settings with a password")
    for name in ("sasl_plain_password_file", "ssl_password_file", "ssl_keyfile"):
        path = getattr(kafka, name)
        if path is not None:
            yield from _readable(path, f"kafka.{name}")


def _readable(path: Path, what: str) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except OSError as refused:
        yield error("secrets", f"{what}: {path}: {refused.strerror}", "let the worker's user read it")
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        message = f"{what}: {path} can be read by every user of this machine (mode {stat.S_IMODE(mode):o})"
        yield warning("secrets", message, f"chmod o-rwx {path}")
