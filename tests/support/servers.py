"""The HTTP server for tests: on a thread of this process, on a free port, with topics of its own."""

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from stream.config.settings import Settings
from stream.http.api import ListServer
from stream.log.kafka import EventProducer, TopicReader, ensure_topics
from stream.wire.records import Record
from stream.wire.schema import RankedItem, Recommendation

DEADLINE_SECONDS = 120.0
JSON = {"content-type": "application/json"}


class Answer(NamedTuple):
    """What came back: status, headers with small names, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> str:
        """Return the kind of the problem that this answer must be."""
        assert self.headers["content-type"] == "application/problem+json", self
        value = self.json()
        assert value["status"] == self.status
        assert value["title"]
        assert value["detail"]
        return str(value["type"]).removeprefix("urn:millstream:problem:")


class Client:
    """Asks one server.

    Args:
        port: where it listens on 127.0.0.1.
        context: with it, TLS.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._context = context

    def connection(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self._context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, value: Any, **headers: str) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", "/v1/events", body, JSON | headers)


def settings_on(bootstrap_servers: str, **serve: Any) -> Settings:
    """Return settings with topics of their own, which exist, on a free port."""
    name = uuid4().hex[:8]
    topics = {key: f"{key}-{name}" for key in ("events", "items", "recommendations", "dead_letters", "journal")}
    tree = {"kafka": {"bootstrap_servers": bootstrap_servers}, "topics": topics, "serve": {"port": 0, **serve}}
    settings = Settings.model_validate(tree)
    ensure_topics(settings)
    return settings


def with_serve(settings: Settings, **serve: Any) -> Settings:
    """Return these settings with others for the server; the topics stay."""
    return Settings.model_validate(settings.model_dump() | {"serve": settings.serve.model_dump() | serve})


@contextlib.contextmanager
def serving(settings: Settings, context: ssl.SSLContext | None = None) -> Iterator[Client]:
    """Yield a client of a server that is ready."""
    server = ListServer(settings)
    try:
        client = Client(server.port, context)
        until(lambda: client.get("/readyz").status == 200)
        yield client
    finally:
        server.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not in {DEADLINE_SECONDS:.0f} s"
        time.sleep(0.05)


def list_bytes(user: str, epoch: int, *items: str) -> bytes:
    ranked = [RankedItem(item, 0.5) for item in items]
    return msgspec.json.encode(Recommendation(user, 1_700_000_000_000 + epoch, 1_700_000_000_000, epoch, "m-1", ranked))


def publish(settings: Settings, *lists: tuple[str, bytes | None]) -> None:
    """Write lists as a worker would; None erases."""
    with EventProducer(settings.kafka, settings.topics.recommendations) as producer:
        for user, value in lists:
            producer.send(user.encode(), value)  # type: ignore[arg-type]
        producer.flush()


def records_in(settings: Settings, topic: str) -> list[Record]:
    """Return all records of a topic."""
    with TopicReader(settings.kafka, topic) as reader:
        records: list[Record] = []
        while not reader.caught_up():
            records += reader.poll(0.2)
        return records


def certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """Return a certificate for localhost that vouches for itself, and its key."""
    import subprocess

    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*command, "-days", "2", *subject, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    return cert, key
