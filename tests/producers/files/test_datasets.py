"""Promises of the bundled data: counts that follow from the published ones, sizes, order, titles, attribution."""

from collections import Counter
from pathlib import Path

import pytest

from producers.files.datasets import DATASETS, dataset, read_titles
from stream.errors import ConfigError
from stream.wire.schema import Event

DATA = Path(__file__).resolve().parents[3] / "producers" / "data"


@pytest.fixture(scope="module")
def retail() -> list[Event]:
    return list(dataset("online-retail").events())


@pytest.mark.slow
@pytest.mark.slow
def test_online_retail_has_the_published_purchases_less_what_is_no_merchandise(retail: list[Event]) -> None:
    counts = Counter(event.type for event in retail)

    # 397,884 purchases of known customers is the widely quoted count; 1,547 of them are postage, fees and the like.
    assert counts["purchase"] == 397_884 - 1_547
    # 8,905 cancellations of known customers, 366 of them no merchandise.
    assert counts["dislike"] == 8_905 - 366
    assert len(retail) == 404_876


@pytest.mark.slow
def test_online_retail_is_in_time_order_over_its_known_span(retail: list[Event]) -> None:
    times = [event.ts or 0 for event in retail]

    assert times == sorted(times)
    assert times[0] == 1291191960000  # 2010-12-01 08:26 UTC
    assert times[-1] == 1323435000000  # 2011-12-09 12:50 UTC


@pytest.mark.slow
def test_the_first_line_of_the_first_invoice_is_six_candle_holders_at_2_55_pounds(retail: list[Event]) -> None:
    assert retail[0] == Event(
        user="17850",
        item="85123A",
        type="purchase",
        ts=1291191960000,
        value=15.3,
        session="536365",
        context={"country": "United Kingdom"},
    )


@pytest.mark.slow
def test_a_return_has_a_value_below_zero_and_an_invoice_that_begins_with_c(retail: list[Event]) -> None:
    for event in retail:
        is_return = event.type == "dislike"
        assert event.value is not None
        assert (event.value < 0) == is_return
        assert (event.session or "").startswith("C") == is_return


@pytest.mark.slow
def test_every_item_of_online_retail_has_a_title(retail: list[Event]) -> None:
    titles = dataset("online-retail").titles()

    assert titles["85123A"] == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert titles["10002"] == "INFLATABLE POLITICAL GLOBE"  # the source has a blank at its end
    assert {event.item for event in retail} == titles.keys()
    assert len(titles) == 3_676


def test_otto_mini_has_its_862_typed_events() -> None:
    events = list(dataset("otto-mini").events())

    assert Counter(event.type for event in events) == {"click": 800, "cart": 52, "purchase": 10}
    assert len({event.user for event in events}) == 20
    assert events[0] == Event(user="0", item="1517085", type="click", ts=1659304800025)


def test_online_retail_takes_at_most_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in (DATA / "online_retail").glob("*.parquet")) <= 2_000_000


@pytest.mark.parametrize("folder", DATASETS.values())
def test_the_attribution_stands_beside_the_data(folder: str) -> None:
    text = (DATA / folder / "README.md").read_text(encoding="utf-8")

    assert "https://creativecommons.org/licenses/by/4.0/" in text
    assert "Changed" in text
    for path in (DATA / folder).glob("*.parquet"):
        assert f"{path.stat().st_size:,}" in text


def test_a_file_or_folder_of_ones_own_is_a_data_set_too(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"user":"ana","item":"1","type":"click"}\n')

    assert list(dataset(file).events()) == [Event(user="ana", item="1", type="click")]
    assert dataset(file).titles() == {}
    assert dataset(DATA / "otto_mini").events().num_rows == 862
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"expected events\.parquet"):
        dataset(tmp_path / "empty")
    with pytest.raises(ConfigError, match="online-retail, otto-mini"):
        dataset("online-retial")


def test_titles_come_from_a_table_or_from_records_of_the_items_topic(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text("item,title,price\n1,Alien,3\n2,,4\n")
    records = tmp_path / "items.jsonl"
    records.write_text('{"item":"1","title":"Alien","categories":["horror"]}\n')

    assert read_titles(table) == read_titles(records) == {"1": "Alien"}

    table.write_text("sku,name\n1,Alien\n")
    with pytest.raises(ConfigError, match=r"items\.csv: expected columns item and title, got sku, name"):
        read_titles(table)


def test_items_without_a_title_are_left_out_and_what_is_no_item_is_named(tmp_path: Path) -> None:
    records = tmp_path / "items.jsonl"
    records.write_text('{"item":"2"}\n{"item":"1","title":"Alien"}\n')

    assert read_titles(records) == {"1": "Alien"}

    records.write_text('{"item":true,"title":"Alien"}\n')
    with pytest.raises(ConfigError, match=r"items\.jsonl:1: expected an item and its title: expected an id"):
        read_titles(records)


def test_a_name_too_long_for_a_file_is_no_data_set() -> None:
    with pytest.raises(ConfigError, match="expected a file or one of online-retail, otto-mini: File name too long"):
        dataset("x" * 5_000)
