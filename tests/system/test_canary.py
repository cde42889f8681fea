"""What the worker's port tells: no secret of the settings, neither on the page nor among the metrics."""

import http.client

from stream.http.page.page import ASSETS
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer
from tests.support.worked import Worked

CANARY = "canary-Zq7"
LOGIN = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": f"user-{CANARY}",
    "sasl_plain_password": CANARY,
    "ssl_password": CANARY,
}


def told(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    if path == "/page/events":  # the stream never ends: until its first figures
        body = b""
        while b"\n\n" not in body.partition(b"data:")[2]:
            body += answer.read1(65_536)
    else:
        body = answer.read()
    connection.close()
    return f"{answer.headers}\n{body.decode()}"


def test_no_secret_is_on_the_page_or_in_what_it_asks_for() -> None:
    worked = Worked(metrics={"port": 0}, kafka=LOGIN)
    worked.page._titles._run = lambda: None  # type: ignore[method-assign]  # no broker here
    assert worked.settings.kafka.sasl_plain_password is not None
    worked.send(24)

    with worked.served() as port:
        asked = ("/page/events", "/page/user?id=u1", "/page/user?id=", "/readyz", "/livez", "/metrics", "/none")
        answers = {path: told(port, path) for path in (*ASSETS, *asked)}

    assert "millstream_" in answers["/metrics"]
    assert '"u1"' in answers["/page/user?id=u1"]
    assert '"newest_users"' in answers["/page/events"]
    assert {path for path, answer in answers.items() if CANARY in answer} == set()


def test_no_secret_and_no_id_is_among_the_metrics() -> None:
    worked, metrics = Worked(kafka=LOGIN), Metrics()
    observer = Observer(metrics, worked.pipeline.state, "sequence")
    worked.send(24)
    while (report := worked.round()) is not None:
        observer.committed(report, worked.pipeline.state, 0.0)
    observer.refresh(worked.pipeline.state)

    shown = metrics.exposition().decode()

    assert "millstream_build_info{" in shown
    assert CANARY not in shown
    assert '"u1"' not in shown
    assert '"i1"' not in shown
