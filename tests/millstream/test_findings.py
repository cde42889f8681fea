"""What status and doctor find: each check is well when all is well, and says what to do when not."""

import resource
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream.diagnosis.doctor import machine_findings, settings_findings
from millstream.diagnosis.doctor.brokers import _topics
from millstream.diagnosis.doctor.software import _packages
from millstream.diagnosis.findings import Finding, Level, conclude, error, lines_of, ok, warning
from millstream.diagnosis.histogram_quantile import quantile
from millstream.diagnosis.offset_agreement import agreement
from millstream.diagnosis.worker_client import ask_worker, is_ready, scrape, url_of
from millstream.terminal.duration import duration
from stream.config.loading import load_config
from stream.config.settings import MetricsSettings, Settings
from stream.errors import Unhealthy
from stream.http.probe_server import HttpServer, create_app
from stream.log.kafka import topic_plans
from stream.log.kafka.cluster import TopicFacts
from stream.log.kafka.group_lag import PartitionStanding
from stream.telemetry.health import Health
from stream.telemetry.metrics import Metrics
from stream.wire.schema import JournalEntry
from tests.support.events import journal_entry, small_settings


def levels(findings: list[Finding]) -> set[Level]:
    return {finding.level for finding in findings}


def entry(app: str = "millstream-0", **positions: int) -> JournalEntry:
    return journal_entry(app=app, positions={int(name.removeprefix("p")): offset for name, offset in positions.items()})


def at(committed: int | None, begin: int = 0, end: int = 100) -> PartitionStanding:
    return PartitionStanding(begin, end, committed, 0)


def test_a_report_without_errors_is_healthy_and_one_with_an_error_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    conclude([ok("a", "x"), warning("b", "y", "do")], is_quiet=False)
    assert capsys.readouterr().out == "healthy, 1 warning\n"

    with pytest.raises(Unhealthy, match="1 error, 0 warnings") as caught:
        conclude([error("b", "y", "do")], is_quiet=True)
    assert caught.value.exit_code == 11


def test_what_to_do_stands_below_what_was_found() -> None:
    lines = lines_of([ok("a", "fine"), error("part", "broken", "mend it")])

    assert lines == ["ok       a     fine", "error    part  broken", "               -> mend it"]


def test_group_journal_and_log_that_agree_are_well() -> None:
    assert levels(agreement(entry(p0=5), {0: at(5)}, Settings())) == {Level.OK}
    assert levels(agreement(None, {0: at(None)}, Settings())) == {Level.OK}
    assert levels(agreement(entry(p0=5), {0: at(None)}, Settings())) == {Level.OK}, (
        "its offsets expired: the journal counts"
    )


@pytest.mark.parametrize(
    ("newest", "standing", "expected"),
    [
        (entry(p0=5), at(6), "group millstream is at 6, the journal at 5"),
        (entry(p0=5), at(5, begin=9), "is at 5, outside the log [9, 100]"),
        (entry(p0=105), at(105), "is at 105, outside the log [0, 100]"),
        (entry("other", p0=5), at(5), "the newest batch is by worker other"),
    ],
)
def test_what_would_keep_a_worker_from_starting_is_found(
    newest: JournalEntry, standing: PartitionStanding, expected: str
) -> None:
    found = agreement(newest, {0: standing}, Settings())

    assert [finding.level for finding in found] == [Level.ERROR]
    assert expected in found[0].message


def facts(**changed: Any) -> dict[str, TopicFacts]:
    """Return topics that are as planned, but for the events topic."""
    found = {}
    for plan in topic_plans(Settings()):
        given = {"num_partitions": plan.partitions, "num_replicas": 1, "num_under_replicated": 0}
        configs = {"retention.ms": "604800000", **plan.configs}
        if plan.name == "events":
            configs |= changed.pop("configs", {})
            given |= changed
        found[plan.name] = TopicFacts(**given, configs=configs)
    return found


def test_topics_as_they_are_created_are_well() -> None:
    assert levels(list(_topics(facts(), Settings()))) == {Level.OK}


@pytest.mark.parametrize(
    ("changed", "level", "expected"),
    [
        ({"num_partitions": 3}, Level.WARNING, "events: 3 partitions, 'topics create' would make 4"),
        ({"num_under_replicated": 2}, Level.WARNING, "events: 2 partitions have a replica that is behind"),
        ({"num_replicas": 0}, Level.WARNING, "events: 0 replicas, expected 1"),
        ({"configs": {"cleanup.policy": "compact"}}, Level.ERROR, "events: cleanup.policy is compact"),
        ({"configs": {"max.message.bytes": "1048588"}}, Level.ERROR, "events: max.message.bytes is 1048588"),
        ({"configs": {"max.message.bytes": "9999999"}}, Level.OK, "events: as planned"),
        ({"configs": {"min.insync.replicas": "0"}}, Level.WARNING, "events: min.insync.replicas is 0"),
        ({"configs": {"retention.ms": "60000"}}, Level.WARNING, "events: records leave after 60 s"),
    ],
)
def test_a_topic_that_is_not_as_planned_is_found(changed: dict[str, Any], level: Level, expected: str) -> None:
    found = [finding for finding in _topics(facts(**changed), Settings()) if finding.message.startswith("events:")]

    assert [(finding.level, finding.message[: len(expected)]) for finding in found] == [(level, expected)]


def test_a_missing_topic_names_the_command_that_makes_it() -> None:
    missing = list(_topics({}, Settings()))

    assert len(missing) == 5
    assert all(finding.fix == "run 'millstream topics create'" for finding in missing)


SAFE = {
    "topics.replication_factor": "3",
    "topics.min_insync_replicas": "2",
}


def test_settings_for_production_are_well() -> None:
    assert levels(settings_findings(load_config(flags=SAFE, environ={}))) == {Level.OK}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"kafka.bootstrap_servers": "kafka-1:9092"}, "every event can be read on the way to kafka-1:9092"),
        ({"kafka.security_protocol": "SSL", "kafka.ssl_check_hostname": "false"}, "can pose as a broker"),
        ({"topics.replication_factor": "1", "topics.min_insync_replicas": "1"}, "lose data with one broker"),
        ({"worker.commit_deadline_seconds": "31"}, "longer than the 30 s"),
        ({"metrics.host": "0.0.0.0"}, "the port has no login"),
        ({"worker.resume_from": "group"}, "goes unseen"),
        ({"log.level": "DEBUG"}, "a line for every batch"),
    ],
)
def test_a_setting_that_one_does_not_want_in_production_is_found(flags: dict[str, str], expected: str) -> None:
    [finding] = settings_findings(load_config(flags=SAFE | flags, environ={}))

    assert finding.level == Level.WARNING
    assert expected in finding.message
    assert finding.fix


def test_a_secret_that_others_can_read_is_found_and_not_shown(tmp_path: Path) -> None:
    password, settings = tmp_path / "password", tmp_path / "millstream.toml"
    password.write_text("canary-1")
    password.chmod(0o644)
    settings.write_text('[kafka]\nssl_password = "canary-2"\n')
    settings.chmod(0o600)
    flags = SAFE | {"kafka.sasl_plain_password_file": str(password)}

    found = settings_findings(load_config(settings, flags, {}))

    assert [finding.message.split(":")[0] for finding in found] == [
        f"kafka.ssl_password stands in the settings file {settings}",
        "kafka.sasl_plain_password_file",
    ]
    assert "mode 644" in found[1].message
    assert "canary" not in str(found)
    password.chmod(0o600)
    assert len(settings_findings(load_config(settings, flags, {}))) == 1


def machine(**sections: dict[str, Any]) -> list[Finding]:
    return machine_findings(small_settings(**{"metrics": {"port": 0}, **sections}))


def test_a_folder_that_can_be_written_is_well_and_stays_as_it_was(tmp_path: Path) -> None:
    found = machine(checkpoints={"url": str(tmp_path / "new" / "checkpoints")})

    assert levels(found) == {Level.OK}
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_folder_that_is_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "is no folder" in machine(checkpoints={"url": str(tmp_path / "file")})[0].message


def test_a_disk_that_does_not_hold_another_checkpoint_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "epoch-000000000001").mkdir()
    (tmp_path / "epoch-000000000001" / "state").write_bytes(b"x" * 5_000)

    def free(num_bytes: int) -> Level:
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": num_bytes}))
        return machine(checkpoints={"url": str(tmp_path)})[0].level

    assert free(4_999) == Level.ERROR
    assert free(5_001) == Level.WARNING
    assert free(2_000_000_000) == Level.OK


@pytest.fixture
def worker_port() -> Iterator[tuple[HttpServer, Health, Metrics]]:
    metrics, health = Metrics(), Health(60.0, time.monotonic)
    metrics.set("millstream_build_info", 1, version="0", model="m", device="cpu", torch="2", kafka_python="3")
    server = HttpServer(create_app(metrics, health), MetricsSettings(port=0))
    server.start()
    yield server, health, metrics
    server.stop()


def test_a_worker_says_whether_it_is_alive_and_ready(worker_port: tuple[HttpServer, Health, Metrics]) -> None:
    server, health, _ = worker_port
    url = f"http://127.0.0.1:{server.port}"

    starting = ask_worker(url)
    health.started()
    running = ask_worker(url)

    assert (starting.problem, starting.is_alive, starting.is_ready, starting.ready) == ("", True, False, "starting")
    assert (running.is_alive, running.is_ready) == (True, True)


def test_a_proxy_for_the_web_is_not_asked_for_a_port_of_this_machine(
    worker_port: tuple[HttpServer, Health, Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, health, _ = worker_port
    monkeypatch.setattr(urllib.request, "_opener", None)  # what it knows of proxies is of the first use
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    health.started()
    url = f"http://127.0.0.1:{server.port}"

    found = scrape(url)

    assert found is not None
    assert found.value("millstream_build_info") == 1
    assert is_ready(url)
    assert not ask_worker(url).problem


@pytest.mark.slow
def test_a_port_of_a_running_worker_is_well_and_one_of_somebody_else_is_not(
    worker_port: tuple[HttpServer, Health, Metrics], tmp_path: Path
) -> None:
    import socket

    folder = {"url": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)  # nobody answers there
        taken = machine(checkpoints=folder, metrics={"port": other.getsockname()[1]})[1]
    mine = machine(checkpoints=folder, metrics={"port": worker_port[0].port})[1]

    assert (taken.level, mine.level) == (Level.ERROR, Level.OK)
    assert "a running worker's" in mine.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no such host", "http://[::1"])
def test_whatever_is_at_the_other_end_is_a_problem_and_no_crash(url: str) -> None:
    assert ask_worker(url).problem


def test_a_worker_on_all_addresses_is_asked_on_this_machine() -> None:
    assert url_of(MetricsSettings(host="0.0.0.0", port=1)) == "http://127.0.0.1:1"
    assert url_of(MetricsSettings(host="::", port=1)) == "http://[::1]:1"
    assert url_of(MetricsSettings(host="::1", port=1)) == "http://[::1]:1"
    assert url_of(MetricsSettings(host="box", port=1)) == "http://box:1"


def test_a_package_that_is_missing_or_not_the_pinned_one_is_found() -> None:
    found = _packages(["pytest>=1", "pytest==0.0.1", "no-such-package-here>=2", 'absent==1; extra == "dev"'])

    assert [finding.message.split(":")[0] for finding in found] == ["pytest", "no-such-package-here is not installed"]
    assert found[0].fix == "pip install 'pytest==0.0.1'"


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    buckets = {1.0: 0.0, 2.0: 10.0, float("inf"): 10.0}

    assert quantile(0.5, buckets) == 1.5
    assert quantile(1.0, buckets) == 2.0
    assert quantile(0.5, {1.0: 0.0, float("inf"): 4.0}) == 1.0, "above the last edge nothing is known"
    assert quantile(0.5, {1.0: 0.0, float("inf"): 0.0}) is None


def test_a_duration_is_in_the_largest_unit_that_it_has_two_of() -> None:
    shown = [duration(seconds) for seconds in (-1, 0, 119, 120, 7_199, 7_200, 172_799, 172_800)]

    assert shown == ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]


def test_a_low_limit_of_open_files_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for hard in (1_024, 4_096, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, hard=hard: (256, hard))
        found.append(machine(checkpoints={"url": str(tmp_path)})[-1])
    assert [finding.level for finding in found] == ["warning", "ok", "ok"]
    assert "LimitNOFILE" in found[0].fix


def test_checkpoints_that_others_may_read_are_told_and_those_of_the_owner_are_not(tmp_path: Path) -> None:
    (tmp_path / "epoch-000000000001").mkdir()
    for mode, level in ((0o755, Level.WARNING), (0o700, Level.OK)):
        tmp_path.chmod(mode)
        found = [finding for finding in machine(checkpoints={"url": str(tmp_path)}) if finding.about == "checkpoints"]
        assert found[-1].level == level
    assert "others may read" not in found[-1].message
