"""What is said of a user: his events, the list of now, and where each score comes from."""

import numpy as np
import pytest

from stream.http.page.user_lookup import answer_about
from stream.publish import ranked
from tests.support.events import NOW_MS, event_bytes
from tests.support.worked import Worked


@pytest.mark.slow
def test_a_known_user_has_his_events_newest_first_and_the_list_that_the_model_gives_him() -> None:
    worked = Worked()
    worked.send(40)
    worked.drain()
    state = worked.pipeline.state

    answer = answer_about(worked.pipeline, "u3", 3)

    # User 3 did the events 3, 8, 13, 18, 23, 28, 33 and 38.
    assert [(event.item, event.type, event.time_ms - NOW_MS) for event in answer.history[:3]] == [
        ("i2", "purchase", 38),
        ("i9", "purchase", 33),
        ("i4", "purchase", 28),
    ]
    assert len(answer.history) == 8
    row = state.encoder.users.get(1, "u3")
    assert row is not None
    top = state.learner.rank(np.array([row]), 3)
    expected = ranked(state.encoder.items, top.item_rows[0].tolist(), top.scores[0].tolist(), top.reasons[0].tolist())
    assert [(place.item, place.score, place.reason) for place in answer.places] == [
        (place.item, place.score, place.reason) for place in expected
    ]
    assert (answer.user, answer.is_known, answer.epoch) == ("u3", True, worked.pipeline.epoch)


@pytest.mark.slow
def test_the_channels_of_a_place_add_up_to_its_odds_against_the_other_places() -> None:
    worked = Worked(evidence={"owned": ()})
    worked.send(80)
    worked.drain()

    first, second, _ = answer_about(worked.pipeline, "u1", 3).places

    gap = sum(part.nats for part in first.channels) - sum(part.nats for part in second.channels)
    assert gap == pytest.approx(np.log(first.score / second.score), abs=2e-3)
    assert {"sequence", "transitions", "popularity", "reranker"} <= {part.channel for part in first.channels}


def test_a_user_who_is_not_known_has_nothing_and_asking_makes_no_row() -> None:
    worked = Worked()
    worked.send(8)
    worked.drain()
    before = len(worked.pipeline.state.encoder.users)

    answer = answer_about(worked.pipeline, "<script>alert(1)</script>", 3)

    assert (answer.is_known, answer.history, answer.places) == (False, (), ())
    assert len(worked.pipeline.state.encoder.users) == before


def test_of_a_user_in_two_partitions_the_newest_is_shown() -> None:
    worked = Worked()
    worked.log.produce(event_bytes("ana", "old", ts=NOW_MS), partition=0)
    worked.log.produce(event_bytes("ana", "new", ts=NOW_MS + 5), partition=1)
    worked.drain()

    assert [event.item for event in answer_about(worked.pipeline, "ana", 3).history] == ["new"]
