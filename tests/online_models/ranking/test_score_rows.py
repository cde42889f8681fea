"""A row that is the same for all questions says what it says when it is written out for each."""

import torch

from online_models import FusionConfig
from online_models.ranking.fusion import Fusion, Mixture
from online_models.ranking.score_rows import is_same_for_all, mean_scores, scores_of

SHARED = torch.randn(1, 30, generator=torch.Generator().manual_seed(0)).expand(5, 30)
OWN = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))


def test_a_row_for_all_is_told_from_rows_of_their_own() -> None:
    assert is_same_for_all(SHARED)
    assert not is_same_for_all(OWN)
    assert not is_same_for_all(SHARED.contiguous())
    assert not is_same_for_all(SHARED[:0])


def test_some_questions_of_a_row_for_all_are_that_row() -> None:
    chosen = scores_of(SHARED, torch.tensor([4, 1]))

    assert is_same_for_all(chosen)
    assert torch.equal(chosen, SHARED[:2])
    assert torch.equal(scores_of(OWN, torch.tensor([4, 1])), OWN[[4, 1]])
    assert scores_of(SHARED, torch.empty(0, dtype=torch.int64)).shape == (0, 30)


def test_means_mixtures_and_slopes_are_those_of_the_rows_written_out() -> None:
    shares = torch.softmax(OWN, 1)
    expected = torch.stack([(shares * scores).sum(1) for scores in (SHARED, OWN)], 1)
    assert torch.allclose(mean_scores(shares, [SHARED, OWN]), expected, atol=1e-6)

    fusion = Fusion(FusionConfig(), ("sequence", "popularity", "popularity_200"), 2)
    fusion.weights[1] = torch.tensor([0.3, -0.2, 0.7])
    situations = torch.tensor([[0], [1], [0], [1], [1]])
    blocked, targets = OWN > 1.0, torch.tensor([1, 2, 3, 4, 5])
    found = []
    for shared in (SHARED, SHARED.contiguous()):
        channels = [OWN, shared, shared.roll(3, 1) if shared is not SHARED else SHARED[:1].roll(3, 1).expand(5, 30)]
        mixture = Mixture(fusion.mix(channels, situations), blocked)
        found.append((mixture.scores, fusion.gradients(channels, mixture, targets)))

    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_channels_that_all_share_one_row_and_no_questions_at_all_are_mixed() -> None:
    fusion = Fusion(FusionConfig(), ("popularity_200",), 1)
    fusion.weights[0] = 2.0

    assert torch.allclose(fusion.mix([SHARED], torch.zeros(5, 1, dtype=torch.int64)), 2.0 * SHARED)
    assert fusion.mix([SHARED[:0]], torch.zeros(0, 1, dtype=torch.int64)).shape == (0, 30)


def test_a_channel_that_scores_all_alike_has_no_slope_also_over_many_items() -> None:
    # One sure item and a long tail: as single precision adds up, shares below 6e-8 are lost beside it.
    scores = torch.randn(64, 20_000, generator=torch.Generator().manual_seed(0))
    scores[:, 7] = 19.0
    shares = torch.softmax(scores, 1)
    alike = torch.full((64, 20_000), -4.6)

    means = mean_scores(shares, [alike, alike[:1].expand(64, -1)])

    assert (means + 4.6).abs().max() < 5e-6
    assert (means + 4.6).mean(0).abs().max() < 1e-6


def test_where_nothing_may_be_listed_means_are_nothing() -> None:
    assert mean_scores(torch.zeros(5, 30), [SHARED, OWN]).abs().max() == 0
