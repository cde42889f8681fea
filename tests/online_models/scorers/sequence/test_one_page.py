"""The page that explains the network computes what the network computes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from online_models import OnlineLearner, SequenceConfig, State
from online_models.scores import Candidates
from tests.support.doc_blocks import blocks_of
from tests.support.streams import cycle, run, small_config

PAGE = Path(__file__).resolve().parents[4] / "docs" / "model-in-one-page.md"


def scores_of_the_page() -> Any:
    [block] = [block for block in blocks_of(PAGE.read_text(encoding="utf-8"), PAGE.name) if "scores_of" in block.text]
    names: dict[str, Any] = {}
    exec(block.text, names)
    return names["scores_of"]


def as_tensors(state: State) -> dict[str, Any]:
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else as_tensors(value)
        for name, value in state.items()
        if isinstance(value, np.ndarray | dict)
    }


def bucket(gap_ms: int) -> int:
    return (gap_ms + 1).bit_length()


@pytest.mark.parametrize("attention_items", [3, 32], ids=["fewer than the history", "more than the history"])
def test_the_page_has_the_scores_of_the_network(attention_items: int) -> None:
    # States are made from the history at each query, as the page makes them.
    config = SequenceConfig(width=16, state_width=16, state_events=0, attention_items=attention_items, replay_windows=4)
    learner = OnlineLearner(small_config(sequence=config))
    run(learner, cycle(640), 64)
    scorer, context = learner._scorers["sequence"], learner._histories.context(np.arange(4))
    expected = scorer.score(context, Candidates.all(24)).table()
    state: Any = learner.state()
    weights = as_tensors(state["scorers"]["sequence"]["weights"])
    scores_of = scores_of_the_page()

    for user, length in enumerate(context.lengths.tolist()):
        assert length > 3
        items, types, times = (
            table[user, :length][::-1].copy() for table in (context.item_rows, context.event_types, context.times_ms)
        )
        gaps = [0, *map(bucket, np.diff(times).tolist())]
        ages = [bucket(int(times[-1] - time)) for time in times]
        found = scores_of(
            weights,
            torch.from_numpy(items),
            torch.from_numpy(types.astype(np.int64)),
            torch.tensor(gaps),
            torch.tensor(ages),
        )

        assert torch.allclose(found[:24], expected[user], atol=1e-4)
