"""What the pinned client cannot read by itself."""

import shutil
import socket
import subprocess
from typing import Any

import pytest
from kafka.admin import ACLOperation, ConfigSourceType, KafkaAdminClient
from kafka.consumer.fetcher import Fetcher
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from stream.log.kafka import KafkaTransport, client_patches, ensure_topics
from tests.contracts.test_transports import kafka_settings, poll_all


def test_a_header_name_that_is_no_utf8_is_escaped_and_the_records_around_it_are_read() -> None:
    client_patches.apply()
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 65_536)
    for offset, name in enumerate(("plain", "zz", "plain")):
        builder.append(offset, 1_000, b"k", b"v%d" % offset, [(name, b"h"), ("empty", None)])
    buffer = bytes(builder.build()).replace(b"zz", b"\xff\xfe")

    records = list(DefaultRecordBatch(buffer))

    assert [record.value for record in records] == [b"v0", b"v1", b"v2"]
    assert [record.headers[0][0] for record in records] == ["plain", "\\xff\\xfe", "plain"]
    assert [record.headers[1] for record in records] == [("empty", None)] * 3


def test_the_repairs_are_made_once() -> None:
    client_patches.apply()
    repaired = DefaultRecordBatch._read_msg, Fetcher.fetched_records, KafkaTCPTransport._read_from_sock

    client_patches.apply()

    now = DefaultRecordBatch._read_msg, Fetcher.fetched_records, KafkaTCPTransport._read_from_sock
    assert now == repaired


def test_what_a_newer_broker_names_reads_as_unknown_and_what_is_known_as_before() -> None:
    client_patches.apply()
    source = {"name": "retention.ms", "value": "1", "read_only": False, "config_source": 99, "config_type": 99}

    assert KafkaAdminClient._process_config(source, None) == "retention.ms"

    assert (source["config_source"], source["config_type"]) == ("UNKNOWN", "UNKNOWN")
    assert ACLOperation(99) is ACLOperation.UNKNOWN
    assert ACLOperation(3) is ACLOperation.READ
    assert ConfigSourceType.build_from("default-config") is ConfigSourceType.DEFAULT_CONFIG
    with pytest.raises(ValueError, match="Unrecognized"):
        ConfigSourceType.build_from("no such source")


class Waits:
    """Whoever waits for an answer on a connection: takes it up some turns of the loop after it came."""

    _sensors = None

    def __init__(self, net: NetworkSelector) -> None:
        self._net = net
        self.happened: list[str] = []

    def data_received(self, data: bytes) -> None:
        self._net.call_soon(self._take_up(data))

    async def _take_up(self, data: bytes) -> None:
        for _ in range(5):
            await self._net.sleep(0)
        self.happened.append(data.decode())

    def connection_lost(self, error: Exception | None) -> None:
        self.happened.append(f"lost: {error}")


def test_what_arrives_together_with_the_end_of_a_connection_is_taken_up_before_it_ends() -> None:
    client_patches.apply()
    net = NetworkSelector()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, waits = KafkaTCPTransport(net, ours), Waits(net)
    transport.set_protocol(waits)
    theirs.sendall(b"refused")
    theirs.close()

    transport.resume_reading()
    for _ in range(100):
        net.poll(timeout_ms=10)

    assert len(waits.happened) == 2
    assert waits.happened[0] == "refused"
    assert waits.happened[1].startswith("lost: ")


@pytest.mark.broker
@pytest.mark.skipif(shutil.which("kcat") is None, reason="needs kcat: apt-get install kcat")
def test_odd_headers_of_a_foreign_client_are_read(broker: Any) -> None:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    command = ["kcat", "-P", "-b", broker.bootstrap_servers, "-t", settings.topics.events, "-k", "ana"]
    for header in (b"nullv", b"\xff\xfe=1"):
        subprocess.run([*command, "-H", header], input=b"bad", check=True)

    transport = KafkaTransport(settings)
    transport.start()
    records = poll_all(transport, 2)
    transport.close()

    assert [record.headers for record in records] == [[("nullv", None)], [("\\xff\\xfe", b"1")]]
