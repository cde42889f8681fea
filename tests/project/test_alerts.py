"""Alert and recording rules: real metrics, a section of the runbook each, cases that fire and cases that must not."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project.test_deploy import DEPLOY, ROOT, declaration_of, unknown_labels
from tests.project.test_project_texts import headings

RULE_FILES = sorted((DEPLOY / "prometheus").glob("*_rules.yml"))
CASES = DEPLOY / "prometheus/tests/alert_rules_test.yml"
RULES = [rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
OF_PROMETHEUS = {"up", "process_start_time_seconds"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")


def series_of(expression: str) -> set[str]:
    """Return the names of the series that an expression selects."""
    code = re.sub(r'"[^"]*"|\[[^\]]*\]|\b(?:by|without|ignoring|on|group_left) ?\([^)]*\)', "", expression)
    code = re.sub(r"{[^}]*}", "{}", code)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w)(?! *\()", code)
    return {word for word in words if "_" in word or ":" in word or word == "up"}


def strangers(expression: str) -> list[str]:
    """Return the series that neither a metric nor a recording rule makes."""
    known = RECORDED | OF_PROMETHEUS
    return sorted(name for name in series_of(expression) if name not in known and declaration_of(name) is None)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def test_every_series_and_label_of_a_rule_exists() -> None:
    assert len(ALERTS) > 10
    assert len(RECORDED) > 5
    for rule in RULES:
        assert series_of(rule["expr"]), rule
        assert strangers(rule["expr"]) == [], rule
        if not re.search(r"\w:millstream_", rule["expr"]):
            assert unknown_labels(rule["expr"].replace("without", "by")) == [], rule


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("rate(millstream_no_such_total[5m]) > 0", ["millstream_no_such_total"]),
        ("instance:millstream_epoch:gone > 0 and up == 0", ["instance:millstream_epoch:gone"]),
        ('sum by (code) (rate(millstream_dead_letters_total{code="not_json"}[5m] offset 1h))', []),
        ("millstream_event_to_publish_seconds > 1", ["millstream_event_to_publish_seconds"]),
    ],
)
def test_a_series_that_does_not_exist_is_noticed(expression: str, unknown: list[str]) -> None:
    assert strangers(expression) == unknown


def test_every_alert_says_how_bad_it_is_what_happened_and_where_to_read_on() -> None:
    anchors = headings((ROOT / "docs/runbook.md").read_text(encoding="utf-8"))
    for rule in ALERTS:
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert rule["annotations"]["description"].endswith("."), rule["alert"]
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (page, anchor) == ("docs/runbook.md", rule["alert"].lower())
        assert anchor in anchors, f"docs/runbook.md has no section for {rule['alert']}"


def test_the_runbook_has_no_section_without_an_alert_and_each_says_what_to_do() -> None:
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))

    assert set(sections) == {rule["alert"] for rule in ALERTS}
    for name, section in sections.items():
        for part in ("**Means**", "**The shop**", "**Make sure**", "**Do**"):
            assert part in section, f"{name}: {part}"
        severities = {rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name}
        assert all(severity in section for severity in severities), name


def cases() -> dict[str, list[Any]]:
    """Return for each alert the lists of alerts that its cases expect; an empty one: it must not fire."""
    found: dict[str, list[Any]] = {}
    for test in yaml.safe_load(CASES.read_text())["tests"]:
        for case in test.get("alert_rule_test", ()):
            found.setdefault(case["alertname"], []).append(case.get("exp_alerts", []))
    return found


@pytest.mark.slow
def test_every_alert_has_a_case_that_fires_and_one_that_must_not() -> None:
    by_expression = {"MillstreamModelNotFinite"}  # four series at once, so its firing case counts them
    for rule in ALERTS:
        expected = cases()[rule["alert"]]
        assert [] in expected, f"{rule['alert']}: no case in which it must not fire"
        assert any(expected) or rule["alert"] in by_expression, f"{rule['alert']}: no case in which it fires"


@needs_promtool
def test_rules_pass_promtool_s_strictest_check() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    done = promtool("test", "rules", CASES)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_promtool
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("instance:millstream_commits:increase2m == 0", "instance:millstream_commits:increase2m == 1"),
        ("share10m > 0.01", "share10m > 0.05"),
        ("millstream_ndcg:lead1h < 0", "millstream_ndcg:lead1h > 0"),
        ("offset 1h", "offset 1m"),
        ("> 5 <= 30", "> 5"),
    ],
)
def test_a_changed_alert_fails_its_cases(before: str, after: str, tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    rules = tmp_path / "prometheus/alert_rules.yml"
    assert before in rules.read_text()
    rules.write_text(rules.read_text().replace(before, after))

    assert promtool("test", "rules", tmp_path / "prometheus/tests/alert_rules_test.yml").returncode != 0


def test_prometheus_loads_every_rule_file_and_compose_mounts_them() -> None:
    configured = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["rule_files"]
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["volumes"]

    assert sorted(configured) == [path.name for path in RULE_FILES]
    assert "./deploy/prometheus:/etc/prometheus:ro" in volumes
