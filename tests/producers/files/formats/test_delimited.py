"""Promises of delimited text: quoting by format, and no row inside another one's quotes."""

from pathlib import Path
from typing import Any

import pytest

from producers.files.formats.delimited import delimited_columns, delimited_rows
from producers.files.formats.table import BadRow, Table


def table(folder: Path, text: str, format: str = "csv", **fields: Any) -> Table:
    path = folder / f"rows.{format}"
    path.write_text(text, encoding="utf-8")
    return Table("rows", format, path, **fields)


def cells(given: Table) -> list[Any]:
    return [(n, str(row) if isinstance(row, BadRow) else tuple(row.values())) for n, row in delimited_rows(given)]


def test_a_quote_that_begins_a_cell_of_tsv_is_a_character(tmp_path: Path) -> None:
    rows = cells(table(tmp_path, 'item\ttitle\n1\t"Til I Die\n2\tPlain\n3\t12" Remix\n', "tsv"))

    assert rows == [(2, ("1", '"Til I Die')), (3, ("2", "Plain")), (4, ("3", '12" Remix'))]


def test_a_cell_of_tsv_that_also_ends_in_a_quote_is_without_them(tmp_path: Path) -> None:
    rows = cells(table(tmp_path, 'item\ttitle\n"1"\t"say ""hi"""\n2\t"a" and "b"\n', "tsv"))

    assert rows == [(2, ("1", 'say "hi"')), (3, ("2", '"a" and "b"'))]


def test_a_quote_of_csv_that_is_never_closed_costs_the_line_on_which_it_opens_alone(tmp_path: Path) -> None:
    rows = cells(table(tmp_path, 'item,title\n1,Plain\n2,"Til I Die\n3,Plain\n4,"x, y"\n5,"a\nb"\n'))

    assert [number for number, _ in rows] == [2, 3, 4, 5, 6]
    assert 'rows:3: expected every quote (") to be closed, got one that opens on this line' in rows[1][1]
    assert [row for _, row in rows[2:]] == [("3", "Plain"), ("4", "x, y"), ("5", "a\nb")]


def test_a_quote_that_is_open_until_the_end_is_named_where_it_opened(tmp_path: Path) -> None:
    rows = cells(table(tmp_path, 'item,title\n1,"Til I Die\n' + "2,Plain\n" * 5_000))

    assert rows[0][1].startswith("rows:2: expected every quote")
    assert [number for number, _ in rows] == list(range(2, 5_003))
    assert {row for _, row in rows[1:]} == {("2", "Plain")}


def test_a_row_that_swallowed_others_into_a_wrong_number_of_columns_gives_them_back(tmp_path: Path) -> None:
    rows = cells(table(tmp_path, 'title,item\n"open,1\nPlain,2\nlast"\nPlain,4\n'))

    assert [number for number, row in rows if not isinstance(row, str)] == [3, 5]
    assert [number for number, _ in rows] == [2, 3, 4, 5]


def test_a_cell_may_be_longer_than_the_limit_of_a_library(tmp_path: Path) -> None:
    assert cells(table(tmp_path, f"item,html\n1,{'x' * 140_000}\n2,y\n")) == [
        (2, ("1", "x" * 140_000)),
        (3, ("2", "y")),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "::"])
def test_what_separates_the_columns_is_read_off_the_header(tmp_path: Path, delimiter: str) -> None:
    given = table(tmp_path, f"item{delimiter}title\n1{delimiter}Alien\n")

    told: list[str] = []
    rows = list(delimited_rows(given, told.append))

    assert told == [delimiter]
    assert rows == [(2, {"item": "1", "title": "Alien"})]


def test_the_line_by_which_excel_names_the_separator_is_no_row(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "sep=;\nitem;title\n1;a,b\n")) == [(3, ("1", "a,b"))]


def test_a_delimiter_that_is_given_wins(tmp_path: Path) -> None:
    assert delimited_columns(table(tmp_path, "item,no;title\n1;2\n", delimiter=";")) == ["item,no", "title"]


def test_without_a_header_the_first_line_is_a_row_and_unnamed_columns_are_left_out(tmp_path: Path) -> None:
    given = table(tmp_path, "u1::i1::5::7\nu2::i2::4::8\n", columns=("user", "item", "", "ts"))

    assert cells(given) == [(1, ("u1", "i1", "7")), (2, ("u2", "i2", "8"))]


def test_a_decimal_comma_does_not_pass_for_the_separator_when_the_columns_are_named(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "ana;1;12,75\n", columns=("user", "item", "value"))) == [(1, ("ana", "1", "12,75"))]


def test_blanks_around_column_names_and_empty_lines_mean_nothing(tmp_path: Path) -> None:
    assert cells(table(tmp_path, "item, title \n\n1,a\n   \n")) == [(3, ("1", "a"))]
