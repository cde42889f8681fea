"""Promises of stopping: the first signal sets a flag, the second one interrupts, and a sleep does not hold us up."""

import signal
import time

import pytest

from producers.shutdown import StopFlag, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_flag_and_the_second_one_interrupts(number: signal.Signals) -> None:
    with stop_on_signals() as flag:
        assert not flag.is_set

        signal.raise_signal(number)
        assert flag.is_set

        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_the_former_handlers_come_back() -> None:
    former = signal.getsignal(signal.SIGTERM)

    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not former

    assert signal.getsignal(signal.SIGTERM) is former


def test_a_set_flag_ends_a_long_sleep() -> None:
    flag = StopFlag()
    flag.is_set = True
    start = time.monotonic()

    flag.sleep(3_600.0)

    assert time.monotonic() - start < 60
