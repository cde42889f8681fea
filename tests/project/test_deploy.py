"""What stands around the code: image, dashboard, scrape settings, pinned versions, and the two commands."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.telemetry.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.stem}: {panel['title']}", panel


def expressions() -> list[tuple[str, str]]:
    return [(name, target["expr"]) for name, panel in panels() for target in panel["targets"]]


def unknown_series(expression: str) -> list[str]:
    """Return the series of an expression that no declared metric makes."""
    return [name for name in re.findall(r"\bmillstream_\w+", expression) if declaration_of(name) is None]


def declaration_of(series: str) -> Any:
    base = re.sub(r"_(bucket|sum|count)$", "", series)
    if base != series and base in METRICS and METRICS[base].kind == "histogram":
        return METRICS[base]
    declared = METRICS.get(series)
    return None if declared is None or declared.kind == "histogram" else declared


def unknown_labels(expression: str) -> list[str]:
    """Return the labels and label values of an expression that its metrics do not have."""
    labels: dict[str, list[str] | None] = dict.fromkeys(("le", "job", "instance", "alertname", "alertstate"))
    for series in re.findall(r"\bmillstream_\w+", expression):
        labels.update(getattr(declaration_of(series), "labels", {}))
    used = [
        name.strip() for names in re.findall(r"\b(?:by|ignoring) ?\(([^)]*)\)", expression) for name in names.split(",")
    ]
    matched = re.findall(r'(\w+)\s*=\s*"([^"]*)"', expression)
    wrong = [name for name in [*used, *(name for name, _ in matched)] if name not in labels]
    return wrong + [value for name, value in matched if name in labels and value not in (labels[name] or [value])]


def test_every_metric_and_label_of_a_dashboard_is_declared() -> None:
    assert expressions()
    for name, expression in expressions():
        assert unknown_series(expression) == [], name
        assert unknown_labels(expression) == [], name


def test_a_metric_or_label_that_is_not_declared_is_noticed() -> None:
    assert unknown_series("rate(millstream_no_such_total[1m])") == ["millstream_no_such_total"]
    assert unknown_series("millstream_stage_seconds") == ["millstream_stage_seconds"]
    assert unknown_series("rate(millstream_stage_seconds_sum[1m])") == []
    assert unknown_series("millstream_epoch_sum") == ["millstream_epoch_sum"]
    assert unknown_labels("sum by (user) (millstream_users)") == ["user"]
    assert unknown_labels('millstream_hit_ratio{window="slidng"}') == ["slidng"]


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for name, panel in panels():
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), name
        assert defaults["unit"], name
        is_logarithmic = defaults.get("custom", {}).get("scaleDistribution", {}).get("type") == "log"
        can_be_below_0 = panel["title"] == "NDCG ahead, 1 h"
        assert is_logarithmic or can_be_below_0 or defaults["min"] == 0, f"{name}: the axis starts at 0"
        assert all(target["legendFormat"] for target in panel["targets"]), name


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        ids = [panel["id"] for panel in dashboard["panels"]]
        cells = [cell for panel in dashboard["panels"] for cell in cells_of(panel["gridPos"])]

        assert len(set(ids)) == len(ids)
        assert len(set(cells)) == len(cells)
        assert all(0 <= x < 24 for x, _ in cells)


def cells_of(grid: dict[str, int]) -> list[tuple[int, int]]:
    return [(grid["x"] + dx, grid["y"] + dy) for dx in range(grid["w"]) for dy in range(grid["h"])]


def test_dashboards_use_the_provisioned_data_source_by_its_fixed_uid() -> None:
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    used = {part["datasource"]["uid"] for _, panel in panels() for part in [panel, *panel["targets"]]}

    assert source["uid"] == "millstream-prometheus"
    assert used == {source["uid"]}


def test_the_overview_keeps_its_address() -> None:
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]

    assert json.loads((DEPLOY / "grafana/dashboards/overview.json").read_text())["uid"] == "millstream-overview"
    assert len(set(uids)) == len(uids) == 3


def test_grafana_looks_for_dashboards_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/millstream.yml").read_text())["providers"][0]
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]

    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in service["volumes"]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/overview.json"


@needs_promtool
def test_prometheus_accepts_its_configuration() -> None:
    done = promtool("check", "config", DEPLOY / "prometheus/prometheus.yml")

    assert done.returncode == 0, done.stderr


@needs_promtool
def test_prometheus_can_read_every_expression_of_the_dashboards(tmp_path: Path) -> None:
    rules = [{"record": "a:b:c", "expr": concrete(expression)} for _, expression in expressions()]

    assert promtool_accepts(rules, tmp_path)
    assert not promtool_accepts([{"record": "a:b:c", "expr": "sum by (rate("}], tmp_path)


def concrete(expression: str) -> str:
    """Put a time where Grafana puts the one that fits the window."""
    return expression.replace("$__rate_interval", "1m").replace("$__range", "15m")


def promtool_accepts(rules: list[dict[str, str]], tmp_path: Path) -> bool:
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    return promtool("check", "rules", "--lint=none", path).returncode == 0


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def test_the_image_is_built_in_stages_and_does_not_run_as_root() -> None:
    stages = re.findall(r"^FROM (.*)$", DOCKERFILE, flags=re.MULTILINE)
    user = re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.MULTILINE)

    assert stages == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]
    assert re.search(r"^ARG BASE_IMAGE=python:3\.11-slim$", DOCKERFILE, flags=re.MULTILINE)
    assert user == ["10001:10001"]
    assert 'ENTRYPOINT ["millstream"]' in DOCKERFILE


def test_everything_that_the_image_copies_is_there_and_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, flags=re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()]

    assert {"pyproject.toml", "constraints.txt", "stream", "online_models", "producers", "millstream"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_image_asks_for_readiness_on_the_metrics_port() -> None:
    (probe,) = re.findall(r"^HEALTHCHECK .*\\\n  CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)
    program, flag, code = json.loads(probe)

    assert (program, flag) == ("python", "-c")
    compile(code, "healthcheck", "exec")
    assert "'MILLSTREAM_METRICS_PORT', '9464'" in code
    assert "/readyz" in code


def test_the_pinned_set_holds_every_dependency_within_its_range() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = dict(line.split("==") for line in pinned_lines())
    versions = {canonicalize_name(name): version for name, version in pins.items()}

    for text in [*project["dependencies"], *extras["broker"], *extras["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text
    assert versions["torch"] == "2.13.0"
    assert not [version for version in versions.values() if "+" in version], "a local version exists for one build only"


def pinned_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@needs_make
def test_make_without_a_target_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for target in ("help", "demo", "test", "format", "clean"):
        assert re.search(rf"^  {target} +\S", shown, flags=re.MULTILINE), target


@needs_make
@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_says_when_python_is_too_old(target: str, tmp_path: Path) -> None:
    old = tmp_path / "old python"
    write_program(old, '[ "$1" = -V ] && echo "Python 3.9.2" && exit 0', "exit 1")

    done = make_in(lonely_checkout(tmp_path), target, f"PYTHON={old}")

    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / "a checkout" / ".venv").exists()


@needs_make
def test_make_test_runs_the_checks_in_order_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    checkout = installed_checkout(tmp_path, mypy="exit 1")

    done = make_in(checkout, "test")

    assert done.returncode != 0
    assert (checkout / "log").read_text().splitlines() == ["ruff format --check .", "ruff check .", "mypy "]


@needs_make
def test_make_test_ends_with_pytest_and_hands_it_its_flags(tmp_path: Path) -> None:
    checkout = installed_checkout(tmp_path)

    done = make_in(checkout, "test", "PYTEST_ARGS=-k one")

    assert done.returncode == 0, done.stderr
    assert (checkout / "log").read_text().splitlines()[-1] == "python -m pytest -n 2 --dist worksteal -k one"
    assert [line for line in done.stdout.splitlines() if line.startswith("==>")] == [
        "==> format (ruff format --check)",
        "==> lint (ruff check)",
        "==> types (mypy)",
        "==> tests (pytest)",
    ]


@needs_make
def test_make_demo_hands_over_its_flags_and_says_how_the_demo_ended(tmp_path: Path) -> None:
    checkout = installed_checkout(tmp_path, millstream="exit 7")

    done = make_in(checkout, "demo", "ARGS=--events 5 --no-view")

    assert done.returncode != 0
    assert "Error 7" in done.stderr
    assert (checkout / "log").read_text().splitlines() == ["millstream demo --events 5 --no-view"]


@needs_make
@pytest.mark.parametrize("touched", ["pyproject.toml", "constraints.txt"])
def test_a_changed_list_of_dependencies_is_installed_again_and_only_once(touched: str, tmp_path: Path) -> None:
    checkout = installed_checkout(tmp_path)
    newer_seconds = (checkout / ".venv/installed-dev").stat().st_mtime + 1
    os.utime(checkout / touched, (newer_seconds, newer_seconds))
    for stamp in ("installed-run", "installed-dev"):
        (checkout / ".venv" / stamp).write_text("")
        os.utime(checkout / ".venv" / stamp, (newer_seconds - 1, newer_seconds - 1))

    make_in(checkout, "test")
    installed = [line for line in (checkout / "log").read_text().splitlines() if "pip install" in line]

    assert installed == [
        "python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[broker,dev]"
    ]


@needs_make
def test_a_checkout_that_was_moved_gets_a_new_environment(tmp_path: Path) -> None:
    moved = installed_checkout(tmp_path).rename(tmp_path / "moved here")
    (moved / ".venv/bin/of-the-old-place").touch()

    make_in(moved, "demo", "PYTHON=stand-ins/outside-python")

    assert not (moved / ".venv/bin/of-the-old-place").exists()
    assert (moved / ".venv/checkout").read_text() == f"{moved.resolve()}\n"
    assert not (moved / ".venv/installed-dev").exists(), "the tools of the tests are gone with the old environment"
    assert (moved / "log").read_text().splitlines() == [
        "python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[broker]",
        "millstream demo",
    ]


def lonely_checkout(tmp_path: Path) -> Path:
    """Return a folder with a space in its name that holds only what `make` looks at."""
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, checkout)
    return checkout


def installed_checkout(tmp_path: Path, **endings: str) -> Path:
    """Return such a folder with a .venv of stand-ins that write their command line to the file `log`."""
    checkout = lonely_checkout(tmp_path)
    stand_ins = checkout / "stand-ins"
    (stand_ins / "bin").mkdir(parents=True)
    for name in ("python", "ruff", "mypy", "millstream"):
        log = f'[ "$2" = "import pip" ] || echo "{name} $*" >> log'
        write_program(stand_ins / "bin" / name, log, endings.get(name, "exit 0"))
    write_program(
        stand_ins / "outside-python",
        '[ "$2 $3" = "venv --clear" ] && rm -rf "$4" && mkdir "$4"',
        "cp -r stand-ins/bin .venv",
    )
    shutil.copytree(stand_ins / "bin", checkout / ".venv/bin")
    (checkout / ".venv/checkout").write_text(f"{checkout.resolve()}\n")
    for stamp in ("installed-run", "installed-dev"):
        (checkout / ".venv" / stamp).touch()
    return checkout


def write_program(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def make_in(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The flags of the `make test` that runs this test must not reach the make that is tested.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST_ARGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_gate_calls_the_test_command_with_skips_forbidden_and_nothing_else() -> None:
    gate = (ROOT / ".ci/run").read_text()

    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=False).returncode == 0
    assert "set -euo pipefail" in gate
    assert gate.rstrip().endswith("FORBID_SKIPS=1 make test")


IN_ONE_PROCESS, IN_TWO = (), ("-p", "xdist.plugin", "-n", "2", "--dist", "worksteal")

NOT_RUN = """
import pytest

def test_runs() -> None: pass

{decorator}
def test_other(): {body}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decorator", "body"),
    [
        ("@pytest.mark.skip(reason='no such tool')", "pass"),
        ("@pytest.mark.skipif(True, reason='no such tool')", "pass"),
        ("", "pytest.skip('no such tool')"),
        ("@pytest.mark.xfail(reason='no such tool')", "assert False"),
        ("@pytest.mark.xfail(reason='no such tool')", "pass"),
        ("pytest.skip('no such tool', allow_module_level=True)", "pass"),
        ("pytest.importorskip('no_such_module', reason='no such tool')", "pass"),
    ],
)
@pytest.mark.parametrize("flags", [IN_ONE_PROCESS, IN_TWO], ids=["in one process", "in two"])
def test_a_test_that_did_not_run_turns_the_gate_red_and_is_listed(
    flags: tuple[str, ...], decorator: str, body: str, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(NOT_RUN.format(decorator=decorator, body=body))

    done = pytest_in(tmp_path, *flags, forbid="1")

    assert done.returncode != 0
    assert "FORBID_SKIPS is set, and these did not run" in done.stdout
    assert "no such tool" in done.stdout.partition("these did not run")[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forbid", "body"), [("1", "pass"), ("", "pytest.skip('no such tool')"), ("0", "pytest.skip('no such tool')")]
)
@pytest.mark.parametrize("flags", [IN_ONE_PROCESS, IN_TWO], ids=["in one process", "in two"])
def test_a_run_is_green_without_skips_or_where_they_are_allowed(
    flags: tuple[str, ...], forbid: str, body: str, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(NOT_RUN.format(decorator="", body=body))

    assert pytest_in(tmp_path, *flags, forbid=forbid).returncode == 0


def pytest_in(folder: Path, *flags: str, forbid: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests/conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = broker: needs the embedded broker\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *flags, "."],
        cwd=folder,
        env={**os.environ, "FORBID_SKIPS": forbid, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
