"""Titles come from their topic once somebody asks, and never stop anything."""

import logging
import time
from typing import Any

import pytest

from producers.item_titles import send_titles
from stream.config.settings import Settings
from stream.errors import RefusedToStart
from stream.http.page import item_titles as titles_module
from stream.http.page.item_titles import Titles
from stream.log.kafka import ensure_topics
from tests.support.events import record, small_settings

DEADLINE_SECONDS = 60.0


def item(key: bytes | None, value: bytes | None) -> Any:
    return record(value, key=key)


def unread(settings: Settings | None = None) -> Titles:
    """Return titles whose topic cannot be read, so that they know only what a test gives them."""

    def refuse() -> Any:
        raise RefusedToStart("topic items does not exist")

    return Titles(settings or small_settings(), refuse)


def test_the_newest_title_of_an_item_counts_and_one_without_a_value_has_none() -> None:
    titles = unread()
    titles.take(
        [
            item(b"a", b'{"item":"a","title":"old"}'),
            item(b"b", b'{"item":"b","title":"gone"}'),
            item(b"a", b'{"item":"a","title":"new"}'),
            item(b"b", None),
        ]
    )

    assert titles.of(["a", "b", "c"]) == {"a": "new"}
    titles.close()


@pytest.mark.parametrize("value", [b"", b"\xff", b"[1]", b'{"title":"x"}', b'{"item":"a","title":7}', b'{"item":"a"}'])
def test_what_is_no_title_is_passed_over(value: bytes) -> None:
    titles = unread()

    titles.take([item(b"a", value), item(None, b'{"item":"","title":"x"}'), item(b"b", b'{"item":"b","title":"B"}')])

    assert titles.of(["a", "b"]) == {"b": "B"}
    titles.close()


def test_a_long_title_is_cut_and_no_more_titles_are_kept_than_items() -> None:
    titles = unread(small_settings(model={"item_capacity": 100}))

    titles.take([item(b"i%d" % n, b'{"item":"i%d","title":"%s"}' % (n, b"x" * 300)) for n in range(150)])

    found = titles.of([f"i{n}" for n in range(150)])
    assert list(found) == [f"i{n}" for n in range(50, 150)]
    assert len(found["i99"]) == 200
    titles.close()


def test_a_topic_that_cannot_be_read_is_said_once_and_asking_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    titles = unread()

    def said() -> list[logging.LogRecord]:  # the threads of other tests may still say something
        assert titles._thread is not None
        return [record for record in caplog.records if record.thread == titles._thread.ident]

    with caplog.at_level(logging.WARNING, logger="millstream"):
        assert titles.of(["a"]) == {}
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not said() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert titles.of(["a"]) == {}

    assert len(said()) == 1
    titles.close()


def test_titles_that_were_sent_to_a_broker_are_found_and_renamed(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles_module, "REFRESH_SECONDS", 0.1)
    names = {name: f"page-titles-{name}" for name in ("events", "items", "recommendations", "dead_letters", "journal")}
    settings = small_settings(kafka={"bootstrap_servers": broker.bootstrap_servers}, topics=names)
    ensure_topics(settings)
    send_titles({"a": "Tea", "b": "<b>Mugs</b>"}, settings.kafka, settings.topics.items)
    titles = Titles(settings)

    def until(expected: dict[str, str]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while titles.of(["a", "b", "c"]) != expected:
            assert time.monotonic() < deadline, titles.of(["a", "b", "c"])
            time.sleep(0.05)

    until({"a": "Tea", "b": "<b>Mugs</b>"})
    send_titles({"a": "Coffee"}, settings.kafka, settings.topics.items)
    until({"a": "Coffee", "b": "<b>Mugs</b>"})
    titles.close()
