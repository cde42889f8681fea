"""Probes: alive while the loop goes round, ready while lists are fresh."""

from stream.telemetry.health import Health
from tests.support.events import ManualClock


def test_a_worker_that_has_not_started_is_alive_and_not_ready() -> None:
    health = Health(60.0, ManualClock())

    assert health.live().ok
    assert not health.ready().ok


def test_a_started_worker_is_ready_until_it_stops() -> None:
    health = Health(60.0, ManualClock())

    health.started()
    assert health.ready().ok
    health.stopping()
    assert not health.ready().ok


def test_a_loop_that_hangs_is_not_alive() -> None:
    clock = ManualClock()
    health = Health(60.0, clock)
    health.started()

    clock.advance(60.0)
    assert health.live().ok
    clock.advance(1.0)
    assert health.live().reason == "the loop has not gone round for 61 s"
    assert not health.ready().ok


def test_a_partition_that_stands_still_while_records_wait_is_not_alive() -> None:
    clock = ManualClock()
    health = Health(60.0, clock)
    health.started()
    for _ in range(3):
        health.beat({0: 5, 1: 7}, {0: 10, 1: 0})
        clock.advance(31.0)
    health.beat({0: 5, 1: 7}, {0: 10, 1: 0})

    assert not health.live().ok
    assert "partition 0 stands at offset 5" in health.live().reason


def test_a_partition_that_moves_or_has_no_lag_is_well() -> None:
    clock = ManualClock()
    health = Health(60.0, clock)
    health.started()
    for position in range(5):
        health.beat({0: position, 1: 7}, {0: 10, 1: 0})
        clock.advance(31.0)
    health.beat({0: 6, 1: 7}, {0: 10, 1: 0})

    assert health.live().ok


def test_a_partition_that_waits_while_full_batches_come_from_others_is_well() -> None:
    clock = ManualClock()
    health = Health(60.0, clock)
    health.started()
    for position in range(5):  # a backlog, and batches that take long: the client has not come to partition 1 yet
        health.beat({0: 1024 * position, 1: 7}, {0: 90_000, 1: 90_000}, is_full=True)
        clock.advance(31.0)
    assert health.live().ok

    for _ in range(3):
        health.beat({0: 9_000, 1: 7}, {0: 0, 1: 90_000})
        clock.advance(31.0)
    assert "partition 1 stands at offset 7" in health.live().reason


def test_brokers_that_are_away_make_it_unready_but_not_dead() -> None:
    clock = ManualClock()
    health = Health(60.0, clock)
    health.started()
    for _ in range(4):
        health.beat({0: 5}, {0: 10}, silent_seconds=clock.seconds)
        clock.advance(31.0)
    health.beat({0: 5}, {0: 10}, silent_seconds=120.0)

    assert health.live().ok
    assert health.ready().reason == "the brokers have not answered for 120 s"


def test_a_long_way_back_to_a_state_is_neither_a_hanging_loop_nor_a_partition_that_stands_still() -> None:
    clock = ManualClock()
    health = Health(60.0, clock)
    health.started()
    health.beat({0: 5}, {0: 10})
    for _ in range(3):
        clock.advance(50.0)
        health.starting("isolating")
        assert health.live().ok

    health.beat({0: 5}, {0: 10})
    assert health.live().ok
