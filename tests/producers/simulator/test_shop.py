"""Promises of the made-up shop: repeatable, learnable, and as troublesome as it was asked to be."""

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest

from producers.event_encoding import OutgoingRecord, decode_event, encode_event
from producers.simulator.malformed import WAYS_TO_BREAK
from producers.simulator.shop import Shop, ShopConfig
from producers.simulator.simulate import SimulationConfig, simulated_records
from stream.config.settings import EventSettings
from stream.errors import ConfigError
from stream.ingest.decode import Decoder
from stream.wire.dead_letters import DeadCode
from stream.wire.decisions import Decisions
from stream.wire.records import Record
from stream.wire.schema import Event

START_MS = 1_767_225_600_000
QUIET = SimulationConfig(burst_every_seconds=0.0)


def taken(config: SimulationConfig, num_records: int) -> list[OutgoingRecord]:
    return list(islice(simulated_records(config), num_records))


def test_the_same_seed_gives_the_same_bytes() -> None:
    config = SimulationConfig(bad_ratio=0.1, duplicate_ratio=0.1, late_ratio=0.1)

    assert taken(config, 500) == taken(config, 500)


def test_another_seed_is_another_shop() -> None:
    other = replace(QUIET, shop=ShopConfig(seed=2))

    assert [record.key for record in taken(QUIET, 50)] != [record.key for record in taken(other, 50)]


def test_events_are_good_keyed_by_user_and_have_ids_of_their_own() -> None:
    records = taken(QUIET, 2_000)
    events = [decode_event(record.value) for record in records]

    assert [event.user.encode() for event in events] == [record.key for record in records]
    assert len({event.id for event in events}) == 2_000
    assert {event.type for event in events} == {"click", "view", "cart", "purchase", "like", "dislike"}


@pytest.mark.slow
def test_events_come_in_order_at_the_mean_rate() -> None:
    due = [record.due_ms or 0 for record in taken(replace(QUIET, rate=100.0), 10_000)]

    assert due == sorted(due)
    # The sum of 10,000 waits of 10 ms each, exponential: 100 s with a standard deviation of 1 s.
    assert due[-1] - START_MS == pytest.approx(100_000, abs=5_000)


def test_a_burst_brings_four_times_the_rate_and_half_of_it_to_one_category() -> None:
    config = SimulationConfig(rate=20.0, burst_every_seconds=120.0, burst_seconds=10.0, burst_factor=4.0)
    records = [record for record in taken(config, 4_000) if (record.due_ms or 0) >= START_MS + 120_000]
    burst = [record for record in records if (record.due_ms or 0) < START_MS + 130_000]

    # 10 s of 80 events a second: 800, give or take 28.
    assert 700 < len(burst) < 900
    categories = Counter((decode_event(record.value).context or {})["category"] for record in burst)
    assert categories.most_common(1)[0][1] > len(burst) * 0.3


def test_most_purchases_follow_the_cart_in_the_same_session() -> None:
    events = [decode_event(record.value) for record in taken(QUIET, 5_000)]
    sessions: dict[str | None, list[Event]] = {}
    for event in events:
        sessions.setdefault(event.session, []).append(event)
    pairs = [pair for session in sessions.values() for pair in pairwise(session)]
    after_cart = [after for before, after in pairs if before.type == "cart" and after.item == before.item]

    # A cart is followed by something in five of six sessions, and by its purchase in half of those.
    carts = sum(event.type == "cart" for event in events)
    assert sum(event.type == "purchase" for event in after_cart) == pytest.approx(carts * 5 / 12, rel=0.25)


def test_duplicates_are_the_same_bytes_again() -> None:
    values = Counter(record.value for record in taken(replace(QUIET, duplicate_ratio=0.2), 5_000))
    repeated = [value for value, times in values.items() if times > 1]

    assert max(values.values()) == 2
    # 5,000 records of which one in six repeats another one: 833.
    assert len(repeated) == pytest.approx(833, rel=0.15)


def test_when_every_event_is_repeated_the_repetitions_keep_up() -> None:
    values = Counter(record.value for record in taken(replace(QUIET, duplicate_ratio=1.0), 5_000))

    # At any moment no more than a hundred and one wait for their second time.
    assert sum(times == 1 for times in values.values()) <= 101


def test_late_events_lie_up_to_ten_minutes_before_their_neighbours() -> None:
    records = taken(replace(QUIET, late_ratio=0.25), 4_000)
    delays = [(record.due_ms or 0) - (decode_event(record.value).ts or 0) for record in records]
    late = [delay for delay in delays if delay > 0]

    assert min(delays) == 0
    assert max(delays) <= 600_000
    assert len(late) == pytest.approx(1_000, rel=0.15)


def test_the_asked_share_is_broken_and_every_broken_one_is_a_dead_letter_of_the_worker() -> None:
    records = taken(replace(QUIET, bad_ratio=0.25), 4_000)
    as_read = [Record("events", 0, n, key, value, [], START_MS) for n, (key, value, _) in enumerate(records)]

    decoded = Decoder(EventSettings()).decode(as_read, Decisions(decoded_at_ms=START_MS))

    assert len(decoded.dead_letters) == pytest.approx(1_000, rel=0.15)
    assert len(decoded.events) + len(decoded.dead_letters) == 4_000


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("cut off", DeadCode.NOT_JSON),
        ("not json", DeadCode.NOT_JSON),
        ("empty", DeadCode.NOT_JSON),
        ("no item", DeadCode.WRONG_TYPE),
        ("empty user", DeadCode.BAD_ID),
        ("number for an id", DeadCode.WRONG_TYPE),
        ("unknown type", DeadCode.UNKNOWN_TYPE),
        ("time as text", DeadCode.WRONG_TYPE),
        ("time in microseconds", DeadCode.BAD_TIME),
        ("endless id", DeadCode.BAD_ID),
        ("nan", DeadCode.NOT_JSON),
    ],
)
def test_each_way_to_break_an_event_has_its_code(way: str, code: DeadCode) -> None:
    value = encode_event(Event(user="ana", item="film-1", type="click", ts=START_MS))
    record = Record("events", 0, 0, b"ana", WAYS_TO_BREAK[way](value), [], START_MS)

    (letter,) = Decoder(EventSettings()).decode([record], Decisions(decoded_at_ms=START_MS)).dead_letters

    assert letter.code == code


def test_there_is_a_code_to_expect_for_every_way_to_break_an_event() -> None:
    tested = test_each_way_to_break_an_event_has_its_code.pytestmark[0].args[1]  # type: ignore[attr-defined]

    assert {way for way, _ in tested} == WAYS_TO_BREAK.keys()


def test_tastes_move_a_little_with_every_visit_and_not_at_all_without_drift() -> None:
    moving = Shop(ShopConfig(num_users=1, drift_ratio=0.1), np.random.default_rng(1))
    still = Shop(ShopConfig(num_users=1, drift_ratio=0.0), np.random.default_rng(1))
    before_moving, before_still = moving.tastes.copy(), still.tastes.copy()

    moving.visit()
    still.visit()

    # A tenth of one distribution is replaced by a tenth of another: at most 0.2 in total moves.
    assert 0 < np.abs(moving.tastes - before_moving).sum() <= 0.2
    assert np.array_equal(still.tastes, before_still)


def test_an_item_is_not_sold_before_its_launch() -> None:
    config = ShopConfig(num_users=5, num_items=40, late_launch_ratio=0.5)
    shop = Shop(config, np.random.default_rng(1))

    at_start = {shop.next_item(user, None, 0.0, None) for _ in range(200) for user in range(5)}
    later = {shop.next_item(user, None, 1.0, None) for _ in range(400) for user in range(5)}

    assert len(at_start) <= 20
    assert len(later) > 20


def test_the_smallest_shop_works() -> None:
    config = SimulationConfig(shop=ShopConfig(num_users=1, num_items=1))

    assert {decode_event(record.value).item for record in taken(config, 20)} == {"item-0"}


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rate, burst_factor: expected above 0, got 0\.0"):
        replace(QUIET, rate=0.0)


@pytest.mark.parametrize("name", ["bad_ratio", "late_ratio", "duplicate_ratio"])
def test_a_share_outside_of_0_to_1_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected a share in 0..1, got 1.5"):
        replace(QUIET, **{name: 1.5})
