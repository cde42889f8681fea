"""The same settings and batches give the same bits: with several threads, and in another process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from online_models import OnlineLearner, SequenceConfig
from online_models.scorers.sequence.scorer import SequenceScorer
from tests.support.streams import cycle, run, small_config


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("max_full_softmax_items", [1, 100])
def test_two_threads_give_the_same_bits_each_time(max_full_softmax_items: int) -> None:
    # Of gradients that are more than 32,768 numbers torch adds up those of repeated rows in whatever order its threads
    # come to them. Here 192 events are of 24 items, and 8 users have many between two that move them.
    settings = SequenceConfig(
        width=256, state_width=8, max_full_softmax_items=max_full_softmax_items, num_negatives=64, replay_windows=0
    )
    stream = cycle(384)
    stream.weights[np.arange(384) % 4 != 0] = -1.0
    found = set()
    for _ in range(5):
        learner = OnlineLearner(small_config(sub_step_events=192, sequence=settings))
        run(learner, stream, 192)
        scorer = learner._scorers["sequence"]
        assert isinstance(scorer, SequenceScorer)
        found.add(scorer.weights.items.numpy().tobytes())

    assert len(found) == 1


PROGRAM = """
import torch
from online_models import digest
from tests.online_models.test_restore import rich

torch.set_num_threads(1)
print([digest(rich(scorer).state()) for scorer in ("sequence", "mf")])
"""


@pytest.mark.slow
def test_another_process_with_another_order_of_hashes_comes_to_the_same_state() -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    found = [process.communicate()[0] for process in started]

    assert found[0] == found[1]
    assert len(found[0]) > 100
