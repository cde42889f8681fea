"""Promises of several files: they are read one behind the other, and the sums are those of all."""

from pathlib import Path

import pytest

from producers.files.datasets import dataset, read_titles
from producers.files.event_file import EventFile, ReadOptions
from producers.files.event_files import EventFiles
from stream.errors import ConfigError


def test_files_are_read_in_the_order_given_and_counted_together(tmp_path: Path) -> None:
    for name, text in (("b.csv", "user,item,type\nana,1,view\nana,2,pv\n"), ("a.csv", "user,item,type\nben,,view\n")):
        (tmp_path / name).write_text(text)
    options = ReadOptions(skip_bad=True, types={"pv": ""})
    files = EventFiles([EventFile(tmp_path / name, options) for name in ("b.csv", "a.csv")])

    assert [event.user for event in files] == ["ana"]
    assert (files.num_read, files.num_bad, files.num_left_out, files.num_rows) == (3, 1, 1, None)
    assert "a.csv:2: item: expected an id" in str(files.first_bad)


def test_a_folder_of_parts_is_read_in_the_order_of_names_without_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "day=2").mkdir()
    (tmp_path / "day=1").mkdir()
    for name in ("day=2/part-0.jsonl", "day=1/part-1.jsonl", "day=1/part-0.jsonl"):
        (tmp_path / name).write_text(f'{{"user":"ana","item":"{name}","type":"view"}}\n')
    for name in ("_SUCCESS", ".part-0.jsonl.crc"):
        (tmp_path / name).write_text("rubbish")

    items = [event.item for event in dataset(tmp_path).events()]

    assert items == ["day=1/part-0.jsonl", "day=1/part-1.jsonl", "day=2/part-0.jsonl"]


def test_a_folder_that_holds_something_else_is_refused_by_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,type\nana,1,view\n")
    (tmp_path / "README").write_text("read me")

    with pytest.raises(ConfigError, match="README: expected files of events only"):
        dataset(tmp_path)
    assert [path.name for path in dataset(tmp_path, "csv").events_paths] == ["README", "a.csv"]


def test_nothing_is_read_before_all_files_are_known_to_fit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,type\nana,1,view\n")
    (tmp_path / "b.csv").write_text("customer,item,type\nana,1,view\n")

    with pytest.raises(ConfigError, match=r"b\.csv: no column user"):
        dataset(tmp_path).events()


def test_ids_that_repeat_are_counted_over_all_files(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("id,user,item,type\n7,ana,1,view\n" + f"{name},ana,1,view\n")
    files = dataset(tmp_path).events()

    assert len(list(files)) == 4
    assert files.num_repeated_ids == 1


def test_titles_are_read_like_events_and_an_item_without_an_id_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.tsv"
    path.write_text('item\ttitle\n 1 \t"Til I Die\n2\tNULL\n3\tAlien\n', encoding="utf-16")
    assert read_titles(path) == {"1": '"Til I Die', "3": "Alien"}

    path.write_text("item\ttitle\n\tAlien\n")
    with pytest.raises(ConfigError, match=r"items\.tsv:2: expected an item and its title: expected an id, got nothing"):
        read_titles(path)
