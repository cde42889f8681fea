"""The dashboards: Grafana's files are those of the code, and pictures of them say what the data say."""

import importlib.util
import json
from pathlib import Path

import pytest

from millstream.commands import dashboard as command
from millstream.dashboard import BOARDS, grafana_json
from millstream.dashboard.diagram import full_times, legend_columns, with_gaps, worth_drawing
from millstream.dashboard.panels import Unit
from millstream.dashboard.picture import check_matplotlib, draw
from millstream.dashboard.prometheus import Series, Span, query_range
from millstream.dashboard.units import readable
from stream.errors import ConfigError

FILES = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"


def test_grafana_s_files_are_written_from_the_code() -> None:
    files = {path.stem: json.loads(path.read_text()) for path in FILES.glob("*.json")}

    assert files == {name: grafana_json(board) for name, board in BOARDS.items()}, (
        "run: millstream dashboard --json deploy/grafana/dashboards"
    )
    assert [name.value for name in command.Name] == list(BOARDS)


def test_the_command_writes_the_files_and_refuses_a_folder_that_it_cannot_make(tmp_path: Path) -> None:
    command.dashboard(json_folder=tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"{name}.json" for name in BOARDS}

    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--json: cannot write"):
        command.dashboard(json_folder=tmp_path / "file")
    with pytest.raises(ConfigError, match="expected --png FILE"):
        command.dashboard()


def test_every_row_of_a_dashboard_is_as_wide_as_the_screen() -> None:
    for name, board in BOARDS.items():
        for row in board.rows:
            assert sum(panel.width for panel in row) == 24, (name, row[0].title)
            assert len({panel.height for panel in row}) == 1


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0273, "s", "27.3 ms"),
        (95, "s", "1.58 min"),
        (0, "s", "0"),
        (0.1234, "percentunit", "12.3 %"),
        (1, "percentunit", "100 %"),
        (13_946_060, "bytes", "13.3 MiB"),
        (1234, "short", "1.23 k"),
        (7, "none", "7"),
        (0.5, "eps", "0.5/s"),
        (1, "bool_yes_no", "yes"),
        (float("nan"), "s", "none"),
    ],
)
def test_numbers_are_written_as_a_person_reads_them(value: float, unit: Unit, text: str) -> None:
    assert readable(value, unit) == text


def test_grafana_s_durations_become_those_that_fit_the_span() -> None:
    quarter = Span(0, 900)

    assert quarter.step_seconds == 5
    assert quarter.concrete("rate(a[$__rate_interval]) > increase(b[$__range])") == "rate(a[20s]) > increase(b[900s])"
    assert Span(0, 86_400).concrete("rate(a[$__rate_interval])") == "rate(a[365s])"  # steps of 360 s


def test_a_legend_takes_the_labels_of_its_series() -> None:
    assert Series({"model": "popularity", "job": "x"}, []).name("{{model}} of {{ job }}{{none}}") == "popularity of x"


def test_a_line_is_not_drawn_across_missing_points() -> None:
    times, values = with_gaps(Series({}, [(0, 1.0), (5, 2.0), (60, 3.0)]), Span(0, 100))

    assert times == [0, 5, 60, 60]
    assert str(values) == "[1.0, 2.0, nan, 3.0]"


def test_lines_that_are_zero_all_the_time_are_left_out_unless_all_are() -> None:
    zero, other = ("zero", Series({}, [(0, 0.0)])), ("other", Series({}, [(0, 0.0), (5, -2.0)]))

    assert worth_drawing([zero, other]) == [other]
    assert worth_drawing([zero, zero]) == [("all 0", zero[1])]
    assert worth_drawing([]) == []
    assert legend_columns([("x" * 40, zero[1])] * 3, 8) == 1


def test_times_on_the_axis_are_full_minutes_and_few() -> None:
    times = full_times(Span(1_000_000_007, 1_000_000_907))

    assert [time - times[0] for time in times] == [0, 300, 600]
    assert all(time % 300 == 0 and 1_000_000_007 <= time <= 1_000_000_907 for time in times)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "localhost:9090"])
def test_a_prometheus_that_is_not_there_is_named_with_what_to_do(url: str) -> None:
    with pytest.raises(ConfigError, match="--prometheus: .*" + url.rpartition(":")[0]):
        query_range(url, "up", Span(0, 60))


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check_matplotlib()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'millstream\[pictures\]'"):
        check_matplotlib()


@pytest.mark.slow
def test_a_picture_is_drawn_of_data_with_gaps_without_and_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: str, expr: str, span: Span) -> list[Series]:
        if "dead_letters" in expr:
            return []
        points = [(span.start_seconds + 5 * step, float(step % 7)) for step in range(60) if not 20 < step < 30]
        labels = dict.fromkeys(("outcome", "channel", "stage", "partition", "table", "reason", "kind"), "a")
        zeros = [(when, 0.0) for when, _ in points]
        return [Series(labels | {"model": "model"}, points), Series(labels | {"model": "popularity"}, zeros)]

    monkeypatch.setattr("millstream.dashboard.picture.query_range", answer)
    for name, board in BOARDS.items():
        draw(grafana_json(board), "http://unused", Span(1_000_000_000, 1_000_000_300), tmp_path / f"{name}.png")

        picture = (tmp_path / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert 20_000 < len(picture) < 400_000


@pytest.mark.slow
def test_a_number_of_a_worker_that_is_gone_is_not_shown_as_if_it_were_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **style: shown.append(text))
    ends = {"millstream_epoch": 1_000_000_300.0, "millstream_recovery_seconds": 1_000_000_200.0}

    def answer(_: str, expr: str, span: Span) -> list[Series]:
        return [Series({}, [(end, 12.0)]) for name, end in ends.items() if name in expr]

    monkeypatch.setattr("millstream.dashboard.picture.query_range", answer)
    draw(grafana_json(BOARDS["internals"]), "http://unused", Span(1_000_000_000, 1_000_000_300), tmp_path / "p.png")

    assert shown[shown.index("Epoch") + 1] == "12"
    assert shown[shown.index("Last recovery") + 1] == "no data"
    stats = [panel for panel in grafana_json(BOARDS["overview"])["panels"] if panel["type"] == "stat"]
    assert all(target["instant"] for panel in stats for target in panel["targets"])
