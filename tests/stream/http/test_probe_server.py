"""The port: metrics and probes, each under its own path, and nothing else."""

import socket
import urllib.error
import urllib.request

import pytest

from stream.config.settings import MetricsSettings
from stream.errors import ConfigError
from stream.http.probe_server import HttpServer, create_app
from stream.telemetry.health import Health
from stream.telemetry.metrics import Metrics
from tests.support.events import ManualClock


def get(port: int, path: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


def test_metrics_and_probes_answer_on_a_real_port() -> None:
    health = Health(60.0, ManualClock())
    server = HttpServer(create_app(Metrics(), health), MetricsSettings(port=0))
    server.start()
    try:
        assert get(server.port, "/livez")[::2] == (200, "alive\n")
        assert get(server.port, "/healthz")[0] == 200
        assert get(server.port, "/readyz")[::2] == (503, "starting\n")
        assert "millstream_ready 0.0" in get(server.port, "/metrics")[2]
        health.started()
        assert get(server.port, "/readyz")[0] == 200
        status, content_type, text = get(server.port, "/metrics")
        assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "millstream_ready 1.0" in text
        assert get(server.port, "/nothing")[0] == 404
    finally:
        server.stop()


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}.*metrics\.port"):
            HttpServer(create_app(Metrics(), Health(60.0, ManualClock())), MetricsSettings(port=port))
