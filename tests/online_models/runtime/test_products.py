"""A row of a product has the bits that it has among any number of others."""

import pytest
import torch

from online_models.runtime import products
from online_models.runtime.products import add_products, padded_rows, row_products

ROWS, TABLE = (torch.randn((size, 64), generator=torch.Generator().manual_seed(size)) for size in (40, 1001))


@pytest.mark.parametrize("are_four_enough", [None, False], ids=["as probed here", "asked in slices"])
@pytest.mark.parametrize("num_rows", [0, 1, 2, 3, 4, 5, 17, 33])
@pytest.mark.parametrize("bias", ["one for each column", "one for each row"])
def test_few_rows_have_the_bits_of_many(
    bias: str, num_rows: int, are_four_enough: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if are_four_enough is not None:
        monkeypatch.setattr(products, "_are_four_enough", lambda: are_four_enough)
    added = torch.arange(1001.0) if bias == "one for each column" else torch.arange(40.0)[:, None]
    whole = row_products(added, ROWS, TABLE)

    found = row_products(added if added.ndim == 1 else added[:num_rows], ROWS[:num_rows], TABLE)

    assert torch.allclose(whole, added + ROWS @ TABLE.T, atol=1e-3)
    assert torch.equal(found, whole[:num_rows])


@pytest.mark.parametrize("are_four_enough", [None, False], ids=["as probed here", "asked in slices"])
@pytest.mark.parametrize("num_rows", [0, 1, 3, 4, 17, 33])
def test_few_added_rows_have_the_bits_of_many(
    num_rows: int, are_four_enough: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if are_four_enough is not None:
        monkeypatch.setattr(products, "_are_four_enough", lambda: are_four_enough)

    def added(rows: torch.Tensor) -> torch.Tensor:
        table = torch.ones(padded_rows(len(rows)), 1001)
        add_products(table, rows, TABLE.T)
        return table[: len(rows)]

    assert torch.equal(added(ROWS[:num_rows]), added(ROWS)[:num_rows])
    assert torch.allclose(added(ROWS), 1.0 + ROWS @ TABLE.T, atol=1e-3)
