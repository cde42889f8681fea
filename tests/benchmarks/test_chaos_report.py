"""What `python -m benchmarks.chaos` says of a run, and of all."""

from collections import Counter

from benchmarks.chaos.__main__ import kinds, run_line
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.plan import Fault

EQUAL = Outcome(7, fired=[Fault("learned", 2)], weather=Counter({"delay": 1, "lock_gone": 2, "clock": 0}), seconds=1.25)
PARTED = Outcome(8, ["a list is missing", "and another"], fired=[Fault("polled", 1, "stop")])


def test_the_line_of_a_run_says_what_came_and_what_became_of_it() -> None:
    assert run_line(EQUAL) == "seed 7, 1.2 s, kill at learned, delay, 2 lock_gone: equal"
    assert run_line(PARTED) == "seed 8, 0.0 s, stop at polled: parted: a list is missing"
    assert run_line(Outcome(9)) == "seed 9, 0.0 s, nothing: equal"


def test_faults_and_weather_are_counted_by_kind() -> None:
    assert kinds([EQUAL, EQUAL, PARTED]) == "lock_gone 4 · kill 2 · delay 2 · stop 1"
