"""Brokers that go away and come back, a broker that was never there, replicas, certificates, and a log made anew."""

import shutil
import ssl
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from millstream.local.embedded_broker import EmbeddedBroker, free_port
from stream.config.settings import Settings
from stream.errors import ConfigError, RefusedToStart
from stream.http.api import ListServer
from stream.http.api.materialized_lists import ListView
from stream.http.api.tls import Certificate
from stream.http.api.topic_follower import Follower
from stream.wire.formats import LIST_FORMAT, format_header
from stream.wire.records import Record
from tests.support.servers import (
    Client,
    certificate,
    list_bytes,
    publish,
    records_in,
    serving,
    settings_on,
    until,
    with_serve,
)

pytestmark = pytest.mark.broker

EVENT = {"user": "ana", "item": "a", "type": "click", "id": "e-1"}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")


def impatient(settings: Settings) -> Settings:
    tree = settings.model_dump()
    tree["kafka"] |= {"bootstrap_timeout_ms": 500, "request_timeout_ms": 1_000}
    tree["serve"] |= {"ack_timeout_seconds": 2.0, "stale_after_seconds": 1.0}
    return Settings.model_validate(tree)


def list_of(client: Client, user: str) -> bytes | None:
    answer = client.get(f"/v1/users/{user}/recommendations")
    return answer.body if answer.status == 200 else None


def test_a_broker_that_goes_and_comes_back_is_outlived(broker: Any, tmp_path: Path) -> None:
    port = free_port()
    own = EmbeddedBroker(port, tmp_path / "broker")
    own.start()
    try:
        settings = impatient(settings_on(own.bootstrap_servers))
        old, new = list_bytes("ana", 1, "x"), list_bytes("ana", 2, "y")
        publish(settings, ("ana", old))
        with serving(settings) as client:
            assert client.post(EVENT).status == 202
            own.stop()

            until(lambda: client.get("/readyz").status == 503)
            assert "the brokers have not answered" in client.get("/readyz").json()["detail"]
            assert client.get("/livez").status == 200
            assert list_of(client, "ana") == old
            first, second = client.post(EVENT), client.post(EVENT)
            assert (first.status, first.problem()) == (503, "perhaps-written")
            assert (second.status, second.problem()) == (503, "not-written")
            assert second.headers["retry-after"] == "1"

            own.start()
            until(lambda: client.get("/readyz").status == 200)
            until(lambda: client.post(EVENT).status == 202)
            publish(settings, ("ana", new))
            until(lambda: list_of(client, "ana") == new)
            text = client.get("/metrics").body.decode()
            assert "millstream_serve_view_reads_total 1.0" in text
            assert 'millstream_serve_events_total{outcome="unknown"} 1.0' in text
        assert len(records_in(settings, settings.topics.events)) >= 2
    finally:
        own.stop()


def test_a_broker_that_is_not_there_yet_is_waited_for(broker: Any, tmp_path: Path) -> None:
    port = free_port()
    own = EmbeddedBroker(port, tmp_path / "broker")
    own.start()
    settings = impatient(settings_on(own.bootstrap_servers))
    publish(settings, ("ana", list_bytes("ana", 1, "x")))
    own.stop()
    server = ListServer(settings)
    try:
        client = Client(server.port)
        assert (client.get("/livez").status, client.get("/readyz").status) == (200, 503)
        early = client.get("/v1/users/ana/recommendations")
        assert (early.status, early.problem(), early.headers["retry-after"]) == (503, "not-ready", "1")
        assert client.get("/v1/users/ana/recommendations/stream").status == 503

        own.start()

        until(lambda: client.get("/readyz").status == 200)
        assert client.get("/v1/users/ana/recommendations").status == 200
    finally:
        server.close()
        own.stop()


def test_topics_that_are_not_there_are_refused_with_what_to_do(broker: Any) -> None:
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": broker.bootstrap_servers},
            "topics": {"events": "no-such-events", "recommendations": "no-such-lists"},
            "serve": {"port": 0},
        }
    )

    with pytest.raises(RefusedToStart, match=r"no-such-events, no-such-lists.*millstream topics create"):
        ListServer(settings)


def test_two_replicas_give_the_same_lists(broker: Any) -> None:
    settings = settings_on(broker.bootstrap_servers)
    lists = {f"u{n}": list_bytes(f"u{n}", n, "x", "y") for n in range(1, 50)}
    publish(settings, *lists.items())
    with serving(settings) as one, serving(settings) as two:
        for user, value in lists.items():
            assert list_of(one, user) == list_of(two, user) == value
        etags = [client.get("/v1/users/u1/recommendations").headers["etag"] for client in (one, two)]
        assert etags[0] == etags[1]


class ShorterLog:
    """A reader whose log was cut: it stands beyond the end, as after brokers lost what they had."""

    def __init__(self, *_: Any, **__: Any) -> None:
        type(self).opened = getattr(type(self), "opened", 0) + 1

    def __enter__(self) -> "ShorterLog":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def poll(self, timeout_seconds: float) -> list[Any]:
        return []

    def has_passed_start(self) -> bool:
        return True

    def lag(self, timeout_seconds: float) -> dict[int, int]:
        return {0: 0, 1: -1 if self.opened == 1 else 0}


def test_a_log_that_became_shorter_is_read_from_its_beginning_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.http.api.topic_follower.TopicReader", ShorterLog)
    follower = Follower(Settings(), ListView(10))
    follower.start()
    try:
        until(lambda: follower.num_reads == 2 and follower.ready().ok)
    finally:
        follower.stop()


class NewerLog(ShorterLog):
    """A topic with a list of a newer format in it."""

    def poll(self, timeout_seconds: float) -> list[Any]:
        return [Record("recommendations", 0, 3, b"ana", b"{}", format_header(LIST_FORMAT + 1), 0)]

    def lag(self, timeout_seconds: float) -> dict[int, int]:
        return {0: 0}


def test_lists_of_a_newer_format_end_the_reading_and_both_probes_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.http.api.topic_follower.TopicReader", NewerLog)
    follower = Follower(Settings(), ListView(10))
    follower.start()
    try:
        until(lambda: not follower.live().ok)
        for verdict in (follower.live(), follower.ready()):
            assert not verdict.ok
            assert "expected a list of format 1 or older, got format 2" in verdict.reason
        assert follower.num_reads == 1
    finally:
        follower.stop()


# TLS


@needs_openssl
def test_a_certificate_makes_it_https(broker: Any, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    settings = settings_on(broker.bootstrap_servers, tls_certfile=cert, tls_keyfile=key)
    with serving(settings, ssl.create_default_context(cafile=str(cert))) as client:
        assert client.post(EVENT).status == 202
        with pytest.raises((OSError, HTTPException)):
            Client(client.port).get("/livez")


@needs_openssl
def test_a_renewed_certificate_is_read_and_a_broken_one_is_not(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    first = cert.read_text()
    (tmp_path / "first.pem").write_text(first)
    held = Certificate(cert, key)

    cert.write_text("nothing")
    held.refresh()
    assert served_certificate(held.context, tmp_path / "first.pem") == ssl.PEM_cert_to_DER_cert(first)

    other_cert, other_key = certificate(tmp_path, "other")
    shutil.copy(other_cert, cert)
    shutil.copy(other_key, key)
    held.refresh()
    assert served_certificate(held.context, other_cert) == ssl.PEM_cert_to_DER_cert(other_cert.read_text())


def served_certificate(context: ssl.SSLContext, trusted: Path) -> bytes | None:
    """Return what a client gets that shakes hands in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client_context = ssl.create_default_context(cafile=str(trusted))
    client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True)


@needs_openssl
def test_certificate_and_key_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    _, other_key = certificate(tmp_path, "other")

    with pytest.raises(ConfigError, match=r"serve\.tls_certfile"):
        Certificate(cert, other_key)
    with pytest.raises(ConfigError, match=r"serve\.tls_certfile"):
        Certificate(tmp_path / "none.pem", other_key)
    with pytest.raises(ValueError, match="both or neither"):
        with_serve(Settings(), tls_certfile=cert)
