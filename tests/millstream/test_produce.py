"""Promises of `millstream produce`: it says what served which field, and how much was sent, also after an error."""

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner

import millstream.commands.produce as command
from millstream.main import app
from producers.event_encoding import OutgoingRecord
from producers.files.presets import PRESETS
from stream.errors import ConfigError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "producing.md"


class Sender:
    """Takes records instead of Kafka; acknowledges them when it is flushed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.records: list[dict[str, Any]] = []
        self.num_bytes = self.num_delivered = 0

    @property
    def num_sent(self) -> int:
        return len(self.records)

    def send_record(self, record: OutgoingRecord) -> None:
        self.records.append(json.loads(record.value))

    def flush(self) -> None:
        self.num_delivered = self.num_sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


class Desk:
    """Runs the command in a folder, with a sender that keeps what it is given."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.sender = Sender()
        self.folder = folder
        patch.setattr(command, "EventSender", lambda *_, **__: self.sender)
        patch.chdir(folder)

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def produce(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["produce", *arguments])

    def sent(self) -> list[tuple[Any, ...]]:
        return [tuple(event.get(name) for name in ("user", "item", "type", "ts")) for event in self.sender.records]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    return Desk(monkeypatch, tmp_path)


def test_it_says_which_column_served_which_field_and_what_became_of_the_rows(desk: Desk) -> None:
    desk.write("e.csv", "id;sku;what\nana;1;view\nana;2;pv\nana;;view\n")

    done = desk.produce(
        *("e.csv", "--map", "user=id", "--map", "item=sku", "--map", "type=what", "--map-type", "pv=", "--skip-bad")
    )

    assert done.exit_code == 0, done.output
    assert desk.sent() == [("ana", "1", "view", None)]
    assert "columns: user = id, item = sku, type = what (separated by ';')" in done.stderr
    assert "read 3 rows: 1 events, 1 skipped, 1 left out" in done.stderr


def test_the_count_after_an_error_is_of_what_arrived(desk: Desk) -> None:
    desk.write("e.csv", "user,item,type\nana,1,view\nana,2,view\nana,3,addtocart\n")

    done = desk.produce("e.csv")

    assert desk.sender.num_delivered == 2
    assert "sent 2 events" in done.stdout
    assert "not acknowledged" not in done.stdout
    assert "read 3 rows: 2 events, 0 skipped, 0 left out; stopped at the last one" in done.stderr


def test_ids_that_repeat_are_warned_of(desk: Desk) -> None:
    desk.write("e.csv", "id,user,item,type\n7,ana,1,view\n7,ana,2,view\n")

    done = desk.produce("e.csv")

    assert "warning: 1 events have an id that an earlier one has" in done.stderr
    assert "--map id=" in done.stderr


def test_several_files_and_folders_are_sent_in_order(desk: Desk) -> None:
    (desk.folder / "parts").mkdir()
    for name in ("parts/b.csv", "parts/a.csv", "z.csv"):
        desk.write(name, f"user,item,type\nana,{name},view\n")

    assert desk.produce("z.csv", "parts").exit_code == 0
    assert [event["item"] for event in desk.sender.records] == ["z.csv", "parts/a.csv", "parts/b.csv"]


def test_a_named_pipe_is_read(desk: Desk) -> None:
    os.mkfifo(desk.folder / "pipe")
    text = gzip.compress(b"user,item,type\nana,1,view\n")
    threading.Thread(target=(desk.folder / "pipe").write_bytes, args=(text,), daemon=True).start()

    assert desk.produce("pipe", "--format", "csv").exit_code == 0
    assert desk.sent() == [("ana", "1", "view", None)]


TS, TS_MS = 1_700_000_000, 1_700_000_000_000
PUBLISHED = {
    "retailrocket": (
        "events.csv",
        f"timestamp,visitorid,event,itemid,transactionid\n{TS_MS},u1,view,i1,\n{TS_MS},u1,addtocart,i1,\n"
        f"{TS_MS},u1,transaction,i1,t1\n",
        [("u1", "i1", type_, TS_MS) for type_ in ("view", "cart", "purchase")],
    ),
    "otto": (
        "train.jsonl",
        f'{{"session":12,"events":[{{"aid":5,"ts":{TS_MS},"type":"clicks"}},{{"aid":6,"ts":{TS_MS},"type":"carts"}},'
        f'{{"aid":6,"ts":{TS_MS},"type":"orders"}}]}}\n',
        [("12", "5", "click", TS_MS), ("12", "6", "cart", TS_MS), ("12", "6", "purchase", TS_MS)],
    ),
    "rees46": (
        "2019-Oct.csv",
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
        "2019-10-01 00:00:00 UTC,view,11,22,a.b,acme,3.5,u1,s1\n"
        "2019-10-01 00:00:00 UTC,remove_from_cart,11,22,a.b,acme,3.5,u1,s1\n",
        [("u1", "11", "view", 1569888000000)],
    ),
    "taobao": (
        "UserBehavior.csv",
        f"u1,i1,c1,pv,{TS}\nu1,i1,c1,fav,{TS}\nu1,i1,c1,cart,{TS}\nu1,i1,c1,buy,{TS}\n",
        [("u1", "i1", type_, TS_MS) for type_ in ("view", "like", "cart", "purchase")],
    ),
    "ga4": (
        "events.json",
        f'{{"event_timestamp":"{TS}000000","event_name":"purchase","user_pseudo_id":"u1",'
        f'"items":[{{"item_id":"a"}},{{"item_id":"b"}}]}}\n'
        f'{{"event_timestamp":"{TS}000000","event_name":"session_start","user_pseudo_id":"u1","items":[]}}\n',
        [("u1", "a", "purchase", TS_MS), ("u1", "b", "purchase", TS_MS)],
    ),
    "segment": (
        "track.jsonl",
        '{"type":"track","event":"Product Viewed","userId":"u1","timestamp":"2023-11-14T22:13:20.000Z",'
        '"context":{"library":{"name":"x"}},"properties":{"product_id":"p1"}}\n'
        '{"type":"track","event":"Order Completed","userId":"u1","timestamp":"2023-11-14T22:13:20.000Z",'
        '"properties":{"products":[{"product_id":"p1"},{"product_id":"p2"}]}}\n'
        '{"type":"page","userId":"u1","messageId":"m3","timestamp":"2023-11-14T22:13:20.000Z","event":"Page"}\n',
        [("u1", "p1", "view", TS_MS), ("u1", "p1", "purchase", TS_MS), ("u1", "p2", "purchase", TS_MS)],
    ),
    "movielens": ("ratings.csv", f"userId,movieId,rating,timestamp\n1,31,2.5,{TS}\n", [("1", "31", "rating", TS_MS)]),
    "movielens-1m": ("ratings.dat", f"1::1193::5::{TS}\n", [("1", "1193", "rating", TS_MS)]),
    "movielens-100k": ("u.data", f"196\t242\t3\t{TS}\n", [("196", "242", "rating", TS_MS)]),
    "recbole": (
        "ml.inter",
        f"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t31\t2.5\t{TS}.0\n",
        [("1", "31", "rating", TS_MS)],
    ),
    "yoochoose-clicks": (
        "yoochoose-clicks.dat",
        "1,2023-11-14T22:13:20.000Z,214536502,0\n",
        [("1", "214536502", "click", TS_MS)],
    ),
    "yoochoose-buys": (
        "yoochoose-buys.dat",
        "1,2023-11-14T22:13:20.000Z,214536502,1200,2\n",
        [("1", "214536502", "purchase", TS_MS)],
    ),
    "hm": (
        "transactions_train.csv",
        "t_dat,customer_id,article_id,price,sales_channel_id\n2018-09-20,c1,0663713001,0.05,2\n",
        [("c1", "0663713001", "purchase", 1537401600000)],
    ),
    "instacart": (
        "order_products__prior.csv",
        "order_id,product_id,add_to_cart_order,reordered\n2,33120,1,1\n",
        [("2", "33120", "purchase", None)],
    ),
}
"""Preset to a file in the published form with invented ids, and the events that it holds."""


@pytest.mark.parametrize("preset", PUBLISHED)
def test_the_command_of_the_document_loads_the_file_in_its_published_form(preset: str, desk: Desk) -> None:
    name, text, expected = PUBLISHED[preset]
    desk.write(name, text)

    done = desk.produce(name, "--preset", preset)

    assert done.exit_code == 0, done.output
    assert desk.sent() == expected
    assert f"`millstream produce {name} --preset {preset}`" in DOCUMENT.read_text(encoding="utf-8")


def test_every_preset_is_tried() -> None:
    assert set(PUBLISHED) == set(PRESETS)


def test_what_is_said_besides_a_preset_wins(desk: Desk) -> None:
    desk.write("events.csv", f"timestamp,visitorid,event,itemid,transactionid\n{TS_MS},u1,addtocart,i1,t1\n")

    done = desk.produce(
        "events.csv", "--preset", "retailrocket", "--map-type", "addtocart=like", "--map", "user=itemid"
    )

    assert isinstance(done.exception, ConfigError)
    assert "--map item=itemid: expected a column of its own, got one that is mapped to user" in str(done.exception)
    assert desk.produce("events.csv", "--preset", "retailrocket", "--map-type", "addtocart=like").exit_code == 0
    assert desk.sent() == [("u1", "i1", "like", TS_MS)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--preset", "netflix"), "--preset: expected one of retailrocket"),
        (("--map", "user"), "--map: expected FIELD=COLUMN"),
        (("--map-type", "a"), "--map-type: expected THEIRS=OURS"),
        (("--map-type", "a=b"), "--map-type a=b: expected one of view"),
        (("--map", "user=a", "--map", "user=b"), "--map: expected user once, got user=a and user=b"),
        (("--delimiter", '"'), "--delimiter: expected a separator"),
    ],
)
def test_options_that_mean_nothing_are_refused(arguments: tuple[str, ...], expected: str, desk: Desk) -> None:
    done = desk.produce(desk.write("e.csv", "user,item,type\n"), *arguments)

    assert expected in str(done.exception)
