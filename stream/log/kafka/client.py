"""How every client connects: Kafka's own setting names, and errors that say what to do."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import errors
from pydantic import SecretStr

from stream.config.settings import KafkaSettings
from stream.errors import (
    BrokerUnreachable,
    ConfigError,
    FencedError,
    MillstreamError,
    RefusedToStart,
    TransactionInDoubt,
)
from stream.wire.records import NO_TIMESTAMP, Record
from stream.wire.text_encoding import read_text

__all__ = ["client_options", "compression", "connecting", "explain", "to_record"]

FENCED = (errors.ProducerFencedError, errors.TransactionCoordinatorFencedError)


def client_options(kafka: KafkaSettings, role: str) -> dict[str, Any]:
    """Return the options that every client of kafka-python shares.

    Args:
        kafka: the connection settings.
        role: what this client is for; ends its client id.

    Raises:
        ConfigError: a password file cannot be read.
    """
    if kafka.security_protocol.endswith("SSL"):
        _expect_files(kafka)
        _expect_certificates(kafka)
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",") if server.strip()],
        "client_id": f"{kafka.client_id}-{role}",
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": kafka.request_timeout_ms,
        "bootstrap_timeout_ms": kafka.bootstrap_timeout_ms,
    }
    return options | _tls_options(kafka) | _sasl_options(kafka)


def _tls_options(kafka: KafkaSettings) -> dict[str, Any]:
    if kafka.security_protocol not in ("SSL", "SASL_SSL"):
        return {}
    return {
        "ssl_check_hostname": kafka.ssl_check_hostname,
        "ssl_cafile": _path(kafka.ssl_cafile),
        "ssl_certfile": _path(kafka.ssl_certfile),
        "ssl_keyfile": _path(kafka.ssl_keyfile),
        "ssl_password": _secret("kafka.ssl_password_file", kafka.ssl_password, kafka.ssl_password_file),
    }


def _sasl_options(kafka: KafkaSettings) -> dict[str, Any]:
    if not kafka.security_protocol.startswith("SASL"):
        return {}
    return {
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_plain_username,
        "sasl_plain_password": _secret(
            "kafka.sasl_plain_password_file", kafka.sasl_plain_password, kafka.sasl_plain_password_file
        ),
    }


def _expect_files(kafka: KafkaSettings) -> None:
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        file = getattr(kafka, name)
        if file is not None and not file.is_file():
            raise ConfigError(f"kafka.{name}: expected a readable file, got {file}")


def _expect_certificates(kafka: KafkaSettings) -> None:
    """Load what the client will load: it would try again and again, and say only at the end that no broker answered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    password = _secret("kafka.ssl_password_file", kafka.ssl_password, kafka.ssl_password_file)
    try:
        if kafka.ssl_cafile is not None:
            context.load_verify_locations(kafka.ssl_cafile)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"kafka.ssl_cafile {kafka.ssl_cafile}: expected CA certificates (PEM): {error}") from error
    try:
        if kafka.ssl_certfile is not None:
            # Without a password OpenSSL would ask for it at the terminal, and wait.
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password or "")
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"kafka.ssl_certfile {kafka.ssl_certfile}, kafka.ssl_keyfile {kafka.ssl_keyfile}: expected a certificate "
            f"(PEM), its key, and the key's password if it has one: {error}"
        ) from error


def compression(kafka: KafkaSettings) -> str | None:
    """Return the name that the client has for the compression of what is produced; None for none."""
    return None if kafka.compression_type == "none" else kafka.compression_type


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _secret(name: str, value: SecretStr | None, file: Path | None) -> str | None:
    if value is not None:
        return _Hidden(value.get_secret_value())
    if file is None:
        return None
    try:
        return _Hidden(read_text(file).strip())
    except OSError as error:
        raise ConfigError(f"{name}: expected a readable file, got {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: expected a readable file of UTF-8 text, got other bytes in {file}") from None


class _Hidden(str):
    """A secret for the client, which writes all its options into its log at level DEBUG."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********'"


@contextmanager
def connecting(kafka: KafkaSettings) -> Iterator[None]:
    """Turn what the client raises while it connects or asks into errors that say what to do."""
    try:
        yield
    except (errors.KafkaError, OSError) as error:
        raise explain(error, kafka) from error


def explain(error: BaseException, kafka: KafkaSettings) -> MillstreamError:
    """Return the error of ours for one of the client's."""
    where = f"broker {kafka.bootstrap_servers}"
    if isinstance(error, MillstreamError):
        return error
    for inner in error.args:  # "a previous request has failed with", and then the error that matters
        if isinstance(inner, errors.KafkaError):
            return explain(inner, kafka)
    if isinstance(error, FENCED):
        return FencedError(f"{where}: another worker with the same worker.transactional_id took over; this one stops")
    if isinstance(error, errors.InvalidProducerEpochError):
        return TransactionInDoubt(
            f"{where}: the epoch of this worker is not the newest of worker.transactional_id any more: its transaction "
            "was rolled back; start the worker again, it continues at the last commit"
        )
    if isinstance(error, errors.UnsupportedSaslMechanismError):
        return ConfigError(f"{where}: the login was refused: {error}; set kafka.sasl_mechanism to one that is enabled")
    if isinstance(error, errors.SaslAuthenticationFailedError):
        return ConfigError(f"{where}: the login was refused: check kafka.sasl_mechanism, user name and password")
    if isinstance(error, errors.KafkaConnectionError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ConfigError(
            f"{where}: its certificate is not trusted: {error}; check that kafka.ssl_cafile holds their CA "
            "and that their certificates name the hosts in kafka.bootstrap_servers and in advertised.listeners"
        )
    if isinstance(error, errors.AuthorizationError):
        return RefusedToStart(f"{where}: not allowed: {error}; grant this user the ACLs named in docs/security.md")
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return RefusedToStart(f"{where}: a topic is missing: run 'millstream topics create'")
    if isinstance(error, errors.KafkaConfigurationError):
        return ConfigError(f"{where}: the connection settings are wrong: {error}")
    if (refusal := _about_records(error, where)) is not None:
        return refusal
    return BrokerUnreachable(
        f"{where}: no usable answer ({type(error).__name__}: {error}): check that it runs and that "
        f"kafka.bootstrap_servers and kafka.security_protocol ({kafka.security_protocol}) are right"
        + _hint(error, kafka)
    )


def _about_records(error: BaseException, where: str) -> RefusedToStart | None:
    """Return the error of ours for one that a record is at fault for."""
    if isinstance(error, errors.UnsupportedCodecError):
        return RefusedToStart(f"{where}: records are compressed in a way that this installation cannot read: {error}")
    if isinstance(error, errors.CorruptRecordError):
        return RefusedToStart(
            f'{where}: a record cannot be read: {error}; see docs/operating.md, "When a record cannot be read"'
        )
    if isinstance(error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError):
        return RefusedToStart(
            f"{where}: a record is larger than its topic takes: raise the topic's max.message.bytes, or lower model.k"
        )
    return None


def _hint(error: BaseException, kafka: KafkaSettings) -> str:
    """Return what a connection that ends without a word may mean."""
    if not any(words in str(error) for words in ("socket disconnected", "EOF occurred", "WRONG_VERSION_NUMBER")):
        return ""
    if kafka.security_protocol.endswith("SSL"):
        return ". It ended the connection: does it speak TLS on this port, and does it want kafka.ssl_certfile?"
    return ". It ended the connection: does it want TLS (SSL, SASL_SSL) or a login (SASL_…)?"


def to_record(raw: Any) -> Record:
    """Return a consumer's record as one of ours."""
    timestamp = NO_TIMESTAMP if raw.timestamp is None else raw.timestamp
    return Record(raw.topic, raw.partition, raw.offset, raw.key, raw.value, list(raw.headers or ()), timestamp)
