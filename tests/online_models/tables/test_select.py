"""Keys among others are found as numpy's slower functions find them."""

import numpy as np
import pytest

from online_models.tables.select import are_in, different


@pytest.mark.parametrize("num_keys", [0, 1, 7, 1000])
@pytest.mark.parametrize("num_others", [0, 1, 300])
def test_different_keys_and_which_of_them_are_among_others(num_keys: int, num_others: int) -> None:
    rng = np.random.default_rng(num_keys)
    keys, others = rng.integers(-50, 500, num_keys), rng.integers(0, 500, num_others)

    assert np.array_equal(different(keys), np.unique(keys))
    assert np.array_equal(are_in(keys, different(others)), np.isin(keys, others))
