"""A made-up shop: who its users are, what it sells, what goes with what, and how tastes move.

Everything is drawn from one generator, so that a seed is a population. There is something to learn in it at every
level: what is popular, what a user's tastes are, what is bought after what, and that all of this changes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import ConfigError

__all__ = ["Shop", "ShopConfig"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopConfig:
    """Size and habits of the shop."""

    num_users: int = 1_000
    num_items: int = 500
    num_categories: int = 12
    seed: int = 1
    taste_concentration: float = 0.2
    """Below 1 a user cares for few categories; far above 1 all users are alike."""
    follow_ratio: float = 0.4
    """Share of steps inside a session that go to an item that belongs with the one before."""
    drift_ratio: float = 0.02
    """Share of its tastes that a user changes from one session to the next."""
    late_launch_ratio: float = 0.3
    """Share of the items that are not there at the start and come on the market one by one."""

    def __post_init__(self) -> None:
        for name in ("num_users", "num_items", "num_categories"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("follow_ratio", "drift_ratio", "late_launch_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a share in 0..1, got {getattr(self, name)}")


class Shop:
    """The population at one moment. `visit` and `next_item` draw, and tastes move with every visit."""

    def __init__(self, config: ShopConfig, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        num_users, num_items = config.num_users, config.num_items
        num_categories = min(config.num_categories, num_items)
        self.category = np.arange(num_items) % num_categories
        self._appeal = rng.permutation(1.0 / np.arange(1, num_items + 1) ** 0.8)
        self._launch = _launch_ranks(config, rng)
        self._companions = _companions(self.category, rng)
        self.tastes: Array = rng.dirichlet(np.full(num_categories, config.taste_concentration), size=num_users)
        activity = rng.lognormal(0.0, 1.0, size=num_users)
        self._activity = np.cumsum(activity / activity.sum())

    def visit(self) -> int:
        """Return the user who comes now; their tastes have moved a little since the last time."""
        user = min(int(np.searchsorted(self._activity, self._rng.random())), self.config.num_users - 1)
        drift = self.config.drift_ratio
        if drift:
            fresh = self._rng.dirichlet(np.full(self.tastes.shape[1], self.config.taste_concentration))
            self.tastes[user] = (1 - drift) * self.tastes[user] + drift * fresh
        return user

    def next_item(self, user: int, previous: int | None, progress: float, hot: int | None) -> int:
        """Return the item that the user looks at next.

        Args:
            user: who.
            previous: the item before in this session, if any.
            progress: how much of the launch calendar has passed, 0..1.
            hot: a category that everybody is sent to, during a burst.
        """
        if previous is not None and self._rng.random() < self.config.follow_ratio:
            companion = int(self._rng.choice(self._companions[previous]))
            if self._launch[companion] <= progress:
                return companion
        category = hot if hot is not None and self._rng.random() < 0.5 else self._draw(self.tastes[user])
        return self._item_of(category, progress)

    def _item_of(self, category: int, progress: float) -> int:
        weights = np.where((self.category == category) & (self._launch <= progress), self._appeal, 0.0)
        if not weights.any():
            weights = np.where(self._launch <= progress, self._appeal, 0.0)
        return self._draw(weights / weights.sum())

    def _draw(self, probabilities: Array) -> int:
        drawn = np.searchsorted(np.cumsum(probabilities), self._rng.random() * probabilities.sum(), side="right")
        return min(int(drawn), len(probabilities) - 1)


def _launch_ranks(config: ShopConfig, rng: np.random.Generator) -> Array:
    """Return when each item comes on the market, 0..1 of the calendar; at least one is there from the start."""
    launch = np.zeros(config.num_items)
    num_late = min(int(config.num_items * config.late_launch_ratio), config.num_items - 1)
    late = rng.choice(config.num_items, size=num_late, replace=False)
    launch[late] = np.sort(rng.random(num_late))
    return launch


def _companions(category: NDArray[Any], rng: np.random.Generator) -> list[NDArray[Any]]:
    """Return for each item the three of its category that belong with it."""
    members = {int(name): np.flatnonzero(category == name) for name in np.unique(category)}
    return [rng.choice(members[int(name)], size=3) for name in category]
