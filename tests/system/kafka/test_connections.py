"""TLS and logins: who is no broker of ours is not talked to, and what is refused says why, without a secret.

The embedded broker has neither, so a proxy in front of it speaks TLS, and refuses logins.
"""

import shutil
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stream.config.settings import KafkaSettings
from stream.errors import BrokerUnreachable, ConfigError, MillstreamError
from stream.log.kafka import EventProducer, TopicReader, ensure_topics
from stream.log.kafka.client import client_options
from stream.log.kafka.topic_admin import topic_names
from tests.contracts.test_transports import kafka_settings, read_all
from tests.support.proxy import Proxy

pytestmark = pytest.mark.broker

SASL_AUTHENTICATE = 36
SASL_AUTHENTICATION_FAILED = 58
QUICK_SECONDS = 10.0
"""A refusal that is final comes at once, not after the 30 s that these connections may take."""


class Certificates:
    """A CA, certificates that it signed, and one of a stranger; PEM files, each with its key beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = self._own_signed("ca")
        self.stranger = self._own_signed("stranger")
        self.broker = self._signed("broker", "subjectAltName=IP:127.0.0.1")
        self.elsewhere = self._signed("elsewhere", "subjectAltName=DNS:kafka.example.org")
        self.expired = self._signed("expired", "subjectAltName=IP:127.0.0.1", days="-1")
        self.client = self._signed("client", "subjectAltName=DNS:worker")

    @staticmethod
    def key(certificate: Path) -> Path:
        return certificate.with_suffix(".key")

    def _own_signed(self, name: str) -> Path:
        path = self._folder / f"{name}.pem"
        self._openssl("req", "-x509", *self._new_key(path), "-out", path, "-days", "2", "-subj", f"/CN={name}")
        return path

    def _signed(self, name: str, extension: str, days: str = "2") -> Path:
        path = self._folder / f"{name}.pem"
        request, extensions = path.with_suffix(".csr"), path.with_suffix(".ext")
        extensions.write_text(extension)
        self._openssl("req", *self._new_key(path), "-out", request, "-subj", f"/CN={name}")
        signer = ["-CA", self.ca, "-CAkey", self.key(self.ca), "-CAcreateserial", "-days", days, "-extfile", extensions]
        self._openssl("x509", "-req", "-in", request, *signer, "-out", path)
        return path

    def _new_key(self, path: Path) -> list[Any]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key(path)]

    def _openssl(self, *arguments: Any) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return Certificates(tmp_path_factory.mktemp("certificates"))


def speaking_tls(certificate: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, Certificates.key(certificate))
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def to(proxy: Proxy, **given: Any) -> KafkaSettings:
    return KafkaSettings(
        **{
            "bootstrap_servers": proxy.bootstrap_servers,
            "security_protocol": "SSL",
            "bootstrap_timeout_ms": 30_000,
            **given,
        }
    )


def refused(kafka: KafkaSettings, kind: type[MillstreamError]) -> str:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        topic_names(kafka)
    if kind is ConfigError:
        assert time.monotonic() - began < QUICK_SECONDS
    return str(caught.value)


def test_events_go_through_tls_and_come_back(broker: Any, certificates: Certificates) -> None:
    with Proxy(broker.port, speaking_tls(certificates.broker)) as proxy:
        settings = kafka_settings(broker)
        settings = settings.model_copy(update={"kafka": to(proxy, ssl_cafile=certificates.ca)})
        ensure_topics(settings)
        with EventProducer(settings.kafka, settings.topics.events) as producer:
            producer.send(b"ana", b"1")
        with TopicReader(settings.kafka, settings.topics.events) as reader:
            assert [record.value for record in read_all(reader)] == [b"1"]


def test_a_broker_of_another_ca_is_not_talked_to(broker: Any, certificates: Certificates) -> None:
    with Proxy(broker.port, speaking_tls(certificates.broker)) as proxy:
        by_stranger = refused(to(proxy, ssl_cafile=certificates.stranger), ConfigError)
        by_the_system = refused(to(proxy), ConfigError)

    assert "its certificate is not trusted" in by_stranger
    assert "kafka.ssl_cafile" in by_the_system


def test_a_certificate_for_another_host_or_past_its_time_is_not_trusted(
    broker: Any, certificates: Certificates
) -> None:
    with Proxy(broker.port, speaking_tls(certificates.elsewhere)) as proxy:
        message = refused(to(proxy, ssl_cafile=certificates.ca), ConfigError)
        unchecked = topic_names(to(proxy, ssl_cafile=certificates.ca, ssl_check_hostname=False))
    with Proxy(broker.port, speaking_tls(certificates.expired)) as proxy:
        late = refused(to(proxy, ssl_cafile=certificates.ca), ConfigError)

    assert "not valid for '127.0.0.1'" in message
    assert unchecked, "only the name was wrong"
    assert "certificate has expired" in late


def test_brokers_that_want_a_client_certificate_get_it(broker: Any, certificates: Certificates) -> None:
    mine = {"ssl_certfile": certificates.client, "ssl_keyfile": certificates.key(certificates.client)}
    with Proxy(broker.port, speaking_tls(certificates.broker, certificates.ca)) as proxy:
        assert topic_names(to(proxy, ssl_cafile=certificates.ca, **mine))
        without = refused(to(proxy, ssl_cafile=certificates.ca, bootstrap_timeout_ms=5_000), BrokerUnreachable)

    assert "does it want kafka.ssl_certfile?" in without


def test_plain_text_to_a_port_with_tls_says_what_may_be_wrong(broker: Any, certificates: Certificates) -> None:
    with Proxy(broker.port, speaking_tls(certificates.broker)) as proxy:
        message = refused(to(proxy, security_protocol="PLAINTEXT", bootstrap_timeout_ms=5_000), BrokerUnreachable)

    assert "does it want TLS (SSL, SASL_SSL) or a login" in message


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda c: {"ssl_cafile": c.key(c.ca)}, "kafka.ssl_cafile .*: expected CA certificates"),
        (lambda c: {"ssl_cafile": Path("/no/such")}, "kafka.ssl_cafile: expected a readable file"),
        (
            lambda c: {"ssl_certfile": c.client, "ssl_keyfile": c.key(c.ca)},
            "kafka.ssl_keyfile .*: expected a certificate",
        ),
    ],
)
def test_files_that_do_not_fit_are_found_before_anything_is_sent(
    certificates: Certificates, wrong: Callable[[Certificates], dict[str, Path]], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        client_options(KafkaSettings(security_protocol="SSL", **wrong(certificates)), "test")  # type: ignore[arg-type]


def test_the_password_of_a_key_comes_from_its_file_and_a_wrong_one_is_not_shown(
    certificates: Certificates, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    source = str(certificates.key(certificates.client))
    command = ["openssl", "ec", "-aes256", "-passout", "pass:right", "-in", source, "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)

    def options(password: str) -> dict[str, Any]:
        (tmp_path / "password").write_text(password + "\n")
        kafka = KafkaSettings(
            security_protocol="SSL",
            ssl_certfile=certificates.client,
            ssl_keyfile=locked,
            ssl_password_file=tmp_path / "password",
        )
        return client_options(kafka, "test")

    assert options("right")["ssl_password"] == "right"
    with pytest.raises(ConfigError, match="the key's password") as caught:
        options("canary-wrong")
    assert "canary" not in str(caught.value)


class RefusesLogins(Proxy):
    """Answers every login with "authentication failed", as Kafka words it."""

    def renamed(self, api_key: int, answer: bytes) -> bytes:
        if api_key != SASL_AUTHENTICATE:
            return super().renamed(api_key, answer)
        # Version 2, flexible: correlation id, no tags; code, text, no bytes, session lifetime, no tags.
        text = b"Authentication failed: Invalid username or password"
        body = answer[4:8] + b"\0" + struct.pack(">h", SASL_AUTHENTICATION_FAILED)
        body += bytes([len(text) + 1]) + text + b"\x01" + struct.pack(">q", 0) + b"\0"
        return struct.pack(">i", len(body)) + body


def login(proxy: Any, mechanism: str, **given: Any) -> KafkaSettings:
    password = {"sasl_plain_username": "ana", "sasl_plain_password": SecretStr("canary-secret")}
    return to(proxy, security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism, **{**password, **given})


def test_a_login_passes_where_the_broker_takes_it(broker: Any) -> None:
    assert topic_names(login(broker, "PLAIN")) is not None


def test_a_login_that_is_refused_ends_at_once_and_does_not_show_the_password(broker: Any) -> None:
    with RefusesLogins(broker.port) as proxy:
        message = refused(login(proxy, "PLAIN"), ConfigError)

    assert "the login was refused: check kafka.sasl_mechanism, user name and password" in message
    assert "canary" not in message


def test_a_mechanism_that_the_broker_lacks_is_named_with_those_that_it_has(broker: Any) -> None:
    message = refused(login(broker, "SCRAM-SHA-512"), ConfigError)

    assert "does not support SCRAM-SHA-512" in message
    assert "PLAIN" in message


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_the_client_is_told_mechanism_user_and_password_and_the_password_may_be_in_a_file(
    mechanism: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("from-file\n")
    given = {
        "security_protocol": "SASL_SSL",
        "sasl_plain_password": None,
        "sasl_plain_password_file": tmp_path / "password",
    }
    kafka = KafkaSettings(**{"sasl_mechanism": mechanism, "sasl_plain_username": "ana", **given})

    options = client_options(kafka, "test")

    assert options["sasl_mechanism"] == mechanism
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("ana", "from-file")
    assert options["security_protocol"] == "SASL_SSL"
    assert options["ssl_check_hostname"] is True
