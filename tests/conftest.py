"""What all tests share: the brokers, and the switch that turns a skipped test into a failure.

With `FORBID_SKIPS=1` in the environment, a run in which a test was skipped or expected to fail ends red and lists it:
the gate must not be green because a tool was missing.
"""

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest

__all__ = ["any_broker", "apache_kafka", "apache_kafka_cluster", "broker"]

MARKERS = {"broker": "broker", "apache_kafka": "apache_kafka", "apache_kafka_cluster": "apache_kafka"}
"""Fixture to the marker of the tests that take it."""

_not_run: list[str] = []


@pytest.fixture(scope="session")
def broker() -> Iterator[Any]:
    """An embedded broker for all tests of this process; its address is `broker.bootstrap_servers`.

    It is shared, so a test that writes to it names topics, groups and transactional ids of its own.
    """
    if importlib.util.find_spec("noida_db") is None:
        pytest.skip("needs the embedded broker: pip install 'millstream[broker]'")
    from millstream.local.embedded_broker import EmbeddedBroker

    with EmbeddedBroker() as running:
        yield running


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[Any]:
    """One node of Apache Kafka for all tests of this process, shared as `broker` is; nobody stops it."""
    yield from _cluster(1)


@pytest.fixture(scope="module")
def apache_kafka_cluster() -> Iterator[Any]:
    """Three nodes of Apache Kafka for the tests of a file; who stops one starts it again."""
    yield from _cluster(3)


def _cluster(num_nodes: int) -> Iterator[Any]:
    from tests.support.apache_kafka import ApacheKafka, why_not

    if reason := why_not():
        pytest.skip(reason)
    with ApacheKafka(num_nodes) as running:
        yield running


@pytest.fixture(
    params=[
        pytest.param("broker", id="embedded", marks=pytest.mark.broker),
        pytest.param("apache_kafka", id="apache", marks=pytest.mark.apache_kafka),
    ]
)
def any_broker(request: pytest.FixtureRequest) -> Any:
    """The embedded broker, and then Apache Kafka: for a promise that is shown on both."""
    return request.getfixturevalue(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, marker in MARKERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    if not os.environ.get("KAFKA_HOME"):  # asked for by naming one, and else no part of the run
        asked_for = [item for item in items if item.get_closest_marker("apache_kafka")]
        config.hook.pytest_deselected(items=asked_for)
        items[:] = [item for item in items if not item.get_closest_marker("apache_kafka")]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _not_run.append(f"{report.nodeid}: {_reason(report)}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped or hasattr(report, "wasxfail"):
        _not_run.append(f"{report.nodeid}: {_reason(report)}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skips_are_forbidden() and _not_run and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skips_are_forbidden() and _not_run:
        terminalreporter.section("FORBID_SKIPS is set, and these did not run", red=True)
        for line in _not_run:
            terminalreporter.line(line)


def _skips_are_forbidden() -> bool:
    return os.environ.get("FORBID_SKIPS", "") not in ("", "0")


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}"
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
