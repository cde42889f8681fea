"""Where chance comes from: every sub-step has draws of its own, so no running generator has to be kept or saved."""

from enum import IntEnum

import numpy as np

__all__ = ["Salt", "draws_of"]


class Salt(IntEnum):
    """Who draws; no two draw alike. Numbers are never given to another."""

    FACTORIZATION = 1
    SEQUENCE = 2
    SEQUENCE_AGAIN = 3


def draws_of(seed: int, salt: Salt, sub_step: int) -> np.random.Generator:
    """Return the generator of one sub-step, always the same for the same three numbers.

    Args:
        seed: of the learner.
        sub_step: how many sub-steps the scorer has learned before, which is part of its state.
    """
    return np.random.default_rng((seed, int(salt), sub_step))
