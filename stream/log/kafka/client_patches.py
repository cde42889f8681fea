"""Repairs of the pinned client, for what it cannot read or never hands over.

Each has a test, and goes when the client has its own.
"""

import sys
import time
from typing import Any

from kafka import errors
from kafka.admin import ACLOperation, ConfigSourceType, ConfigType
from kafka.consumer.fetcher import Fetcher
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaTCPTransport
from kafka.producer.transaction_manager import TxnRequestHandler
from kafka.record.default_records import DefaultRecordBatch

__all__ = ["apply"]

REFUSALS = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError)
TLS_REFUSALS = (
    "CERTIFICATE_VERIFY_FAILED",
    "WRONG_VERSION_NUMBER",
    "certificate required",
    "unknown ca",
    "bad certificate",
)
"""What of OpenSSL's words says that another attempt ends the same way."""
GROWING = (ACLOperation, ConfigSourceType, ConfigType)
"""The client's lists that releases of Kafka add to, and that it looks answers up in."""
LAST_WORDS_TURNS = 20
"""Turns of the client's loop in which what arrived with the end of a connection reaches who waits for it; few do."""


class _LenientBuffer(bytearray):
    """A buffer whose parts decode whatever they hold; what is no UTF-8 becomes escapes such as `\\xff`."""

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        return _LenientBuffer(got) if isinstance(key, slice) else got

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")


def apply() -> None:
    """Make all repairs, once."""
    _read_odd_header_names()
    _hand_over_what_was_parked()
    _say_why_no_broker_was_reached()
    _keep_what_refused_an_epoch()
    _take_what_newer_brokers_name()
    _hear_the_last_words()


def _read_odd_header_names() -> None:
    """Let the client read a record with a header name that is not UTF-8.

    Without this it fails on the whole batch of records, again and again, and one such record stops the stream for good.
    """
    strict = DefaultRecordBatch._read_msg
    if getattr(strict, "is_repaired", False):
        return

    def read_message(batch: Any) -> Any:
        position = batch._pos
        try:
            return strict(batch)
        except UnicodeDecodeError:
            buffer, batch._buffer, batch._pos = batch._buffer, _LenientBuffer(batch._buffer), position
            try:
                return strict(batch)
            finally:
                batch._buffer = buffer

    read_message.is_repaired = True  # type: ignore[attr-defined]
    DefaultRecordBatch._read_msg = read_message


def _hand_over_what_was_parked() -> None:
    """Let a partition that was paused and resumed go on with what had been fetched for it.

    The client takes that up again only when the place for the fetch in hand is empty, but leaves the last one there
    when it is used up. Without this such a partition may stand still for ever.
    """
    stuck = Fetcher.fetched_records
    if getattr(stuck, "is_repaired", False):
        return

    def fetched_records(fetcher: Any, *args: Any, **options: Any) -> Any:
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None
        return stuck(fetcher, *args, **options)

    fetched_records.is_repaired = True  # type: ignore[attr-defined]
    Fetcher.fetched_records = fetched_records


def _say_why_no_broker_was_reached() -> None:
    """Let the first connection end at once when login or certificate is refused, and name the reason when it ends late.

    The client tries again until its time is up, and then says only that it was; what went wrong is in its log.
    """
    silent = KafkaConnectionManager._do_bootstrap
    if getattr(silent, "is_repaired", False):
        return
    update_backoff = KafkaConnectionManager.update_backoff

    def noted(manager: Any, node_id: Any) -> Any:
        error = sys.exc_info()[1]  # the client calls this where it handles a failed connection
        # That the time was up is no reason where there was one before.
        is_news = not isinstance(error, errors.KafkaTimeoutError) or not hasattr(manager, "_why_not_connected")
        if error is not None and is_news:
            manager._why_not_connected = error
            if not manager.bootstrapped and _is_refusal(error):
                manager._auth_failures[node_id] = error  # from here it is raised before the next attempt
        return update_backoff(manager, node_id)

    async def bootstrap(manager: Any, deadline: Any) -> Any:
        try:
            return await silent(manager, deadline)
        except errors.KafkaTimeoutError as error:
            why = getattr(manager, "_why_not_connected", None)
            if why is None:
                raise
            raise errors.KafkaTimeoutError(f"{error.args[0]}, the last attempt: {why}") from why

    bootstrap.is_repaired = True  # type: ignore[attr-defined]
    KafkaConnectionManager._do_bootstrap = bootstrap
    KafkaConnectionManager.update_backoff = noted


def _take_what_newer_brokers_name() -> None:
    """Let a number that the client's lists do not hold read as UNKNOWN, as Java's clients do.

    Without this an answer that names one source of a setting, say, which came with a newer release ends the command.
    """

    def unknown(kind: Any, value: object) -> Any:
        return kind.UNKNOWN if isinstance(value, int) else None  # words go on to be looked up as names

    for kind in GROWING:
        kind._missing_ = classmethod(unknown)


def _hear_the_last_words() -> None:
    """Hand over what arrived together with the end of a connection, and only then end it.

    The client drops it. A broker that refuses a login says so and closes: without this the refusal reads as a broker
    that went away, and is tried again and again.
    """
    deaf = KafkaTCPTransport._read_from_sock
    if getattr(deaf, "is_repaired", False):
        return

    async def read(transport: Any) -> None:
        while transport._read and not transport._closed:
            await transport._net.wait_read(transport._sock)
            data, error = transport._sock_recv()
            if data:
                error = _hand_over(transport, data) or error
            if error is not None:
                for _ in range(LAST_WORDS_TURNS):
                    await transport._net.sleep(0)
                transport.abort(error=error)
                return

    read.is_repaired = True  # type: ignore[attr-defined]
    KafkaTCPTransport._read_from_sock = read


def _hand_over(transport: Any, data: bytes) -> Exception | None:
    """Do what the client does with bytes that came; return why they cannot be read, or None."""
    transport.last_read = time.monotonic()
    if transport._protocol._sensors:
        transport._protocol._sensors.bytes_received.record(len(data))
    try:
        transport._protocol.data_received(data)
    except errors.KafkaProtocolError as foreign:
        why: Exception = foreign
        return why
    return None


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, REFUSALS) or any(words in str(error) for words in TLS_REFUSALS)


def _keep_what_refused_an_epoch() -> None:
    """Let INVALID_PRODUCER_EPOCH of a transaction's request be that error.

    The client calls it PRODUCER_FENCED, and so says of a transaction that timed out that another worker took over.
    """
    merged = TxnRequestHandler.fatal_error
    if getattr(merged, "is_repaired", False):
        return
    on_complete = TxnRequestHandler.on_complete

    def noted(handler: Any, number: int, response: Any) -> Any:
        handler._answer = response
        return on_complete(handler, number, response)

    def fatal_error(handler: Any, error: Any) -> Any:
        answer: Any = getattr(handler, "_answer", None)
        codes = _error_codes(answer.to_dict()) if hasattr(answer, "to_dict") else set()
        is_merged = isinstance(error, errors.ProducerFencedError) and errors.ProducerFencedError.errno not in codes
        if is_merged and errors.InvalidProducerEpochError.errno in codes:
            error = errors.InvalidProducerEpochError()
        return merged(handler, error)

    fatal_error.is_repaired = True  # type: ignore[attr-defined]
    TxnRequestHandler.on_complete = noted
    TxnRequestHandler.fatal_error = fatal_error


def _error_codes(answer: Any) -> set[int]:
    """Return all error codes of an answer, whichever way its version nests them."""
    if isinstance(answer, dict):
        here = {value for name, value in answer.items() if name.endswith("error_code") and isinstance(value, int)}
        return here.union(*map(_error_codes, answer.values()))
    return set[int]().union(*map(_error_codes, answer)) if isinstance(answer, list | tuple) else set()
