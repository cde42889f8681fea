"""The matrix factorisation of river, fed one event at a time."""

from typing import Any

import numpy as np

from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes

__all__ = ["RiverMf"]

WIDTH = 32
NUM_NEGATIVES = 1


class RiverMf:
    """``river.reco.BiasedMF`` on ratings of 1 for what came and of 0 for items drawn evenly.

    Without the zeros every prediction is 1. Learning goes through ``learn_one`` alone; all items are scored at once
    with the factors that the model shows.
    """

    def __init__(self, sizes: Sizes) -> None:
        from river import optim, reco

        self._rng = np.random.default_rng(sizes.seed)
        self._model: Any = reco.BiasedMF(
            n_factors=WIDTH,
            bias_optimizer=optim.SGD(0.025),
            latent_optimizer=optim.SGD(0.05),
            latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=sizes.seed),
            l2_bias=0.001,
            l2_latent=0.001,
            seed=sizes.seed,
        )

    def score(self, asked: Questions) -> Float32:
        """Return the predictions less what is the same for all items of a user."""
        model, zeros = self._model, np.zeros(WIDTH)
        # get, as reading a row that is not there would make it and use up chance
        items = np.stack([model.i_latents.get(row, zeros) for row in range(asked.num_items)])
        biases = np.array([model.i_biases.get(row, 0.0) for row in range(asked.num_items)])
        users = np.stack([model.u_latents.get(user, zeros) for user in asked.user_rows.tolist()])
        scores: Float32 = (users @ items.T + biases).astype(np.float32)
        return scores

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Learn each event and a zero beside it."""
        for user, item in zip(asked.user_rows.tolist(), item_rows.tolist(), strict=True):
            self._model.learn_one(user=user, item=item, y=1.0)
            for negative in self._rng.integers(asked.num_items, size=NUM_NEGATIVES).tolist():
                if negative != item:
                    self._model.learn_one(user=user, item=negative, y=0.0)
