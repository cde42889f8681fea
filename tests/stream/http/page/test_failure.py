"""A mistake in the page is no reason to stop the stream."""

import logging

import pytest

from stream.http.page import Page
from stream.worker import Worker


class Mistaken(Page):
    """A page that cannot take in a round."""

    def __init__(self) -> None:
        self.num_rounds = 0
        self.is_closed = False

    def after_round(self, *_: object) -> None:
        self.num_rounds += 1
        raise IndexError(7)

    def close(self) -> None:
        self.is_closed = True


def test_a_page_that_fails_is_closed_and_said_once_and_the_worker_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    page = Mistaken()
    worker = Worker.__new__(Worker)
    worker._page, worker._pipeline = page, None  # type: ignore[assignment]

    with caplog.at_level(logging.ERROR, logger="millstream"):
        for _ in range(3):
            worker._show(None, {})

    assert (page.num_rounds, page.is_closed) == (1, True)
    assert [record.getMessage() for record in caplog.records] == ["page_failed"]
