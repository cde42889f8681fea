"""Which hosts a request may name, and how often users are looked up."""

import pytest

from stream.page.guard import TokenBucket, names_this_machine
from tests.stream.events import ManualClock


@pytest.mark.parametrize(
    "host", ["localhost:9464", "127.0.0.1:9464", "127.8.8.8", "[::1]:80", "LOCALHOST", "a.localhost"]
)
def test_a_port_of_this_machine_answers_to_the_names_of_this_machine(host: str) -> None:
    assert names_this_machine(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "10.0.0.1", "localhost.evil.example", "", "[::2]"]
)
def test_a_port_of_this_machine_answers_to_no_other_name(host: str) -> None:
    assert not names_this_machine(host, "127.0.0.1")
    assert not names_this_machine(host, "localhost")
    assert not names_this_machine(host, "::1")


def test_a_port_that_others_reach_answers_to_any_name() -> None:
    assert names_this_machine("millstream.example:9464", "0.0.0.0")


def test_a_bucket_lets_a_burst_through_and_then_so_many_a_second() -> None:
    clock = ManualClock()
    bucket = TokenBucket(2.0, 3, clock)

    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.5)
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.advance(1000.0)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
