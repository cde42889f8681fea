"""Promises of matching columns with fields: every column serves one field, and a file without a header is named."""

import io
from pathlib import Path
from typing import Any

import pytest

from producers.files.event_file import EventFile, ReadOptions
from producers.files.rows import BadRow
from stream.errors import ConfigError
from stream.wire.schema import Event


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_column_that_was_mapped_serves_that_field_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "id,sku\ncust1,k1\ncust1,k2\n")
    file = EventFile(path, ReadOptions(columns={"user": "id", "item": "sku"}, default_type="purchase"))

    assert list(file) == [Event(user="cust1", item=item, type="purchase") for item in ("k1", "k2")]
    assert file.described() == "user = id, item = sku, type: purchase for all rows"


def test_a_mapped_column_of_facts_is_no_fact_of_its_own_name_too(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type,context.land\nana,1,view,GB\n")
    file = EventFile(path, ReadOptions(columns={"context.country": "context.land"}))

    assert [event.context for event in file] == [{"country": "GB"}]


def test_one_column_for_two_fields_is_refused() -> None:
    with pytest.raises(ConfigError, match="--map item=a: expected a column of its own, got one that is mapped to user"):
        ReadOptions(columns={"user": "a", "item": "a"})


def test_a_column_that_is_used_by_its_name_is_said_and_can_be_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "id,user,item,type\n7,ana,1,view\n")
    file, without = EventFile(path), EventFile(path, ReadOptions(columns={"id": ""}))

    assert [event.id for event in file] == ["7"]
    assert file.described() == "user = user, item = item, type = type, id = id"
    assert [event.id for event in without] == [None]
    assert without.described() == "user = user, item = item, type = type"


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_file_whose_first_line_is_data_is_not_read_as_if_it_were_names(tmp_path: Path, is_stream: bool) -> None:
    text = "u901\ti55\t3\t1700000949\nu902\ti56\t3\t1700001742\n"
    source: Any = io.BytesIO(text.encode()) if is_stream else written(tmp_path, "e.tsv", text)
    mapped = {"user": "u901", "item": "i55", "ts": "1700000949"}

    with pytest.raises(ConfigError, match=r"looks like data .* \(3, 1700000949\).* --columns user,item"):
        list(EventFile(source, ReadOptions(columns=mapped, default_type="rating", ts_unit="s", format="tsv")))


def test_the_columns_of_a_file_without_a_header_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "e.tsv", "u901\ti55\t3\t1700000949\nu902\ti56\t4\t1700001742\n")
    options = ReadOptions(names=("user", "item", "value", "ts"), default_type="rating", ts_unit="s")

    assert list(EventFile(path, options)) == [
        Event(user="u901", item="i55", type="rating", value=3.0, ts=1700000949000),
        Event(user="u902", item="i56", type="rating", value=4.0, ts=1700001742000),
    ]


def test_names_and_delimiters_are_for_delimited_text_only(tmp_path: Path) -> None:
    path = written(tmp_path, "e.jsonl", '{"user":"ana","item":"1","type":"click"}\n')

    with pytest.raises(ConfigError, match="--columns and --delimiter are for CSV and TSV, got jsonl"):
        EventFile(path, ReadOptions(names=("user", "item")))


def test_numbered_columns_of_a_data_frame_are_names(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "0,1,2\nana,7,view\n")

    assert [e.item for e in EventFile(path, ReadOptions(columns={"user": "0", "item": "1", "type": "2"}))] == ["7"]


def test_one_type_for_all_rows_wins_over_a_column_of_other_types(tmp_path: Path) -> None:
    path = written(tmp_path, "e.jsonl", '{"user":"ana","item":"1","type":"track"}\n{"user":"ana","item":"2"}\n')
    file = EventFile(path, ReadOptions(default_type="view"))

    assert [event.type for event in file] == ["view", "view"]
    assert file.described() == "user = user, item = item, type: view for all rows"


def test_a_strange_type_among_ours_is_a_bad_row_and_no_view(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type\nana,1,cart\nana,2,addtocart\n")

    with pytest.raises(
        BadRow, match=r"e\.csv:3: type: expected one of .*, got 'addtocart'; .*--map-type addtocart=TYPE"
    ):
        list(EventFile(path, ReadOptions(default_type="view")))


def test_a_mapped_type_is_never_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,what\nana,1,track\n")

    with pytest.raises(BadRow, match=r"type \(column what\)"):
        list(EventFile(path, ReadOptions(default_type="view", columns={"type": "what"})))


def test_rows_of_types_that_are_left_out_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type\nana,1,view\nana,,session_start\nana,2,pv\n")
    file = EventFile(path, ReadOptions(types={"session_start": "", "pv": "view"}))

    assert [event.item for event in file] == ["1", "2"]
    assert (file.num_read, file.num_bad, file.num_left_out) == (3, 0, 1)


def test_paths_lead_into_nested_json(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "e.jsonl",
        '{"who":{"id":"ana"},"items":[{"sku":"1"}],"a.b":"click"}\n{"who":{},"items":[],"a.b":"click"}\n',
    )
    options = ReadOptions(columns={"user": "who.id", "item": "items[0].sku", "type": "a.b"}, skip_bad=True)
    file = EventFile(path, options)

    assert list(file) == [Event(user="ana", item="1", type="click")]
    assert "e.jsonl:2: user: expected an id, got nothing" in str(file.first_bad)


def test_each_object_of_a_list_is_a_row(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "e.jsonl",
        '{"user":"ana","a":{"list":[{"item":"1"},{"item":"2"}]}}\n{"user":"ben","a":{"item":"3"}}\n',
    )
    options = ReadOptions(columns={"item": "a.item"}, default_type="click", each="a.list")

    assert [(event.user, event.item) for event in EventFile(path, options)] == [
        ("ana", "1"),
        ("ana", "2"),
        ("ben", "3"),
    ]


def test_facts_as_text_are_refused_and_can_be_mapped(tmp_path: Path) -> None:
    path = written(
        tmp_path, "e.jsonl", '{"user":"ana","item":"1","type":"click","context":"{\\"device\\":\\"ios\\"}"}\n'
    )

    with pytest.raises(BadRow, match=r"e\.jsonl:1: context: expected an object of facts"):
        list(EventFile(path))
    mapped = EventFile(path, ReadOptions(columns={"context.raw": "context"}))
    assert [event.context for event in mapped] == [{"raw": '{"device":"ios"}'}]
    assert [event.context for event in EventFile(path, ReadOptions(columns={"context": ""}))] == [None]


@pytest.mark.parametrize("is_stream", [False, True])
def test_decimal_commas_are_read_where_the_separator_goes_with_them(tmp_path: Path, is_stream: bool) -> None:
    text = "user;item;type;value;ts\nana;22423;purchase;12,75;2010-12-01 08:26:00\n"
    source: Any = io.BytesIO(text.encode()) if is_stream else written(tmp_path, "e.csv", text)
    file = EventFile(source, ReadOptions(format="csv"))

    assert list(file) == [Event(user="ana", item="22423", type="purchase", value=12.75, ts=1291191960000)]
    assert file.described().endswith("(separated by ';')")


def test_an_event_from_the_future_is_a_bad_row(tmp_path: Path) -> None:
    path = written(tmp_path, "e.csv", "user,item,type,ts\nana,1,cart,1700003600000\nana,2,cart,1700003600001\n")
    file = EventFile(path, ReadOptions(skip_bad=True), clock=lambda: 1_700_000_000)

    assert [event.item for event in file] == ["1"]
    assert "at most 3600 s ahead of the clock (events.max_future_seconds), got 1700003600001" in str(file.first_bad)
