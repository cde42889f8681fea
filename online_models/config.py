"""The settings of the learner: small frozen values that check their own ranges."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from online_models.errors import ConfigError
from online_models.runtime.device import DEVICES

__all__ = [
    "FIRST_WEIGHTS",
    "HALF_LIVES_EVENTS",
    "MODEL_VERSION",
    "FactorizationConfig",
    "FrequencyConfig",
    "FusionConfig",
    "LearnerConfig",
    "NeighboursConfig",
    "PopularityConfig",
    "RecencyConfig",
    "RerankerConfig",
    "SequenceConfig",
    "TransitionsConfig",
]

MODEL_VERSION = 7
"""Goes up when the same settings and the same batches lead to another state or to other lists. It stands in every list,
every journal record and every checkpoint, so that no state is continued by code that computes something else."""

FIRST_WEIGHTS: Mapping[str, float] = {
    "sequence": 0.5,
    "mf": 0.1,
    "transitions": 0.5,
    "successors": 0.2,
    "cooccurrence": 0.3,
    "baskets": 0.3,
    "neighbours": 0.3,
    "recency": 0.1,
    "frequency": 0.1,
    "popularity": 0.3,
    "popularity_200": 0.0,
    "popularity_2000": 0.0,
    "popularity_200000": 0.0,
}
"""Trust in each channel before anything was learned."""

HALF_LIVES_EVENTS: Mapping[str, float] = {
    "popularity_200": 200.0,
    "popularity_2000": 2_000.0,
    "popularity_200000": 200_000.0,
}
"""Fame of the moment, of the day and of all times, next to the baseline's: events after which a count is worth half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PopularityConfig:
    """How fast fame fades."""

    half_life_events: float = 20_000.0
    """Events after which a count is worth half. More than 0."""

    def __post_init__(self) -> None:
        _expect("popularity.half_life_events", self.half_life_events, self.half_life_events > 0, "> 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionsConfig:
    """The memory of what followed what."""

    num_recent: int = 20
    """Newest items of a history that count as sources. 1 to 200."""
    position_decay: float = 0.8
    """Worth of the item before, against the newest. More than 0, at most 1."""
    half_life_events: float = 500_000.0
    """Events after which a transition is worth half. More than 0."""
    popularity_power: float = 0.1
    """Scores are divided by the target's count to this power. 0 to 1."""
    num_slots: int = 256
    """Neighbours remembered per item, the smallest is evicted; 8 bytes each. 1 to 4096."""

    def __post_init__(self) -> None:
        _expect_range("transitions.num_recent", self.num_recent, 1, 200)
        _expect("transitions.position_decay", self.position_decay, 0 < self.position_decay <= 1, "in (0, 1]")
        _expect("transitions.half_life_events", self.half_life_events, self.half_life_events > 0, "> 0")
        _expect_range("transitions.popularity_power", self.popularity_power, 0.0, 1.0)
        _expect_range("transitions.num_slots", self.num_slots, 1, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighboursConfig:
    """The memory of who took what lately."""

    num_recent: int = 20
    """Newest items of a history whose users are met. 1 to 64."""
    users_per_item: int = 64
    """Newest users remembered per item; 4 bytes each. 1 to 4096."""
    items_per_user: int = 30
    """Newest items of a user that he votes for, at most ``history_length``; 4 bytes each. 1 to 1000."""
    num_nearest: int = 80
    """Users that vote. 1 to 4096."""

    def __post_init__(self) -> None:
        _expect_range("neighbours.num_recent", self.num_recent, 1, 64)
        _expect_range("neighbours.users_per_item", self.users_per_item, 1, 4096)
        _expect_range("neighbours.items_per_user", self.items_per_user, 1, 1000)
        _expect_range("neighbours.num_nearest", self.num_nearest, 1, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecencyConfig:
    """The user's own history as a scorer."""

    position_decay: float = 0.8
    """Worth of the item before, against the newest. More than 0, at most 1."""

    def __post_init__(self) -> None:
        _expect("recency.position_decay", self.position_decay, 0 < self.position_decay <= 1, "in (0, 1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyConfig:
    """What each user takes again and again as a scorer."""

    items_per_user: int = 128
    """Items remembered per user, the one with the least count is evicted; 8 bytes each. 1 to 4096."""
    half_life_events: float = 200.0
    """Own events after which a count is worth half. More than 0."""

    def __post_init__(self) -> None:
        _expect_range("frequency.items_per_user", self.items_per_user, 1, 4096)
        _expect("frequency.half_life_events", self.half_life_events, self.half_life_events > 0, "> 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorizationConfig:
    """Biased matrix factorisation with a learned row per user."""

    width: int = 64
    """D, width of the embeddings. 1 to 1024."""
    num_negatives: int = 64
    """N, items drawn as negatives, shared by the events of a sub-step. 1 to 10000."""
    learning_rate: float = 0.1
    """Step of row-wise Adagrad. More than 0."""

    def __post_init__(self) -> None:
        _expect_range("mf.width", self.width, 1, 1024)
        _expect_range("mf.num_negatives", self.num_negatives, 1, 10_000)
        _expect("mf.learning_rate", self.learning_rate, self.learning_rate > 0, "> 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceConfig:
    """The recurrent model of a user's events."""

    width: int = 64
    """D, width of the item embeddings. 1 to 1024."""
    state_width: int = 128
    """Width of the recurrent state kept per user. 1 to 4096."""
    attention_items: int = 32
    """Newest items of the history that a query looks at. 1 to 1000."""
    attention_heads: int = 2
    """Looks at them per query. 1 to 64."""
    learning_rate: float = 0.003
    """Step of Adam. More than 0."""
    mean_steps: int = 400
    """Steps whose weights make the mean that scores; 1: the newest weights alone. 1 to 100000."""
    state_events: int = 16_000
    """Events of all users after which a user's state is made anew from his history. 0 to 1000000000."""
    clip_norm: float = 1.0
    """Longest gradient; longer ones are scaled down. More than 0."""
    max_full_softmax_items: int = 20_000
    """Largest catalogue whose every item takes part in the loss; above it negatives are drawn. At least 1."""
    num_negatives: int = 1024
    """N, items drawn as negatives above that. 2 to 100000."""
    replay_windows: int = 16
    """Past windows learned again with each sub-step; 0 switches replay off. 0 to 1024."""
    replay_targets: int = 6
    """Events per window that are predicted again. 1 to 200."""
    replay_weight: float = 0.4
    """What one of them counts for beside a new event. At least 0."""
    replay_context: int = 10
    """Most events before them that the state is built from. 1 to 1000."""
    replay_capacity_events: int = 1 << 20
    """Past events that windows are drawn from; 29 bytes each. At least 1."""

    def __post_init__(self) -> None:
        _expect_range("sequence.width", self.width, 1, 1024)
        _expect_range("sequence.state_width", self.state_width, 1, 4096)
        _expect_range("sequence.attention_items", self.attention_items, 1, 1000)
        _expect_range("sequence.attention_heads", self.attention_heads, 1, 64)
        _expect("sequence.learning_rate", self.learning_rate, self.learning_rate > 0, "> 0")
        _expect_range("sequence.mean_steps", self.mean_steps, 1, 100_000)
        _expect_range("sequence.state_events", self.state_events, 0, 1_000_000_000)
        _expect("sequence.clip_norm", self.clip_norm, self.clip_norm > 0, "> 0")
        _expect("sequence.max_full_softmax_items", self.max_full_softmax_items, self.max_full_softmax_items > 0, ">= 1")
        _expect_range("sequence.num_negatives", self.num_negatives, 2, 100_000)
        _expect_range("sequence.replay_windows", self.replay_windows, 0, 1024)
        _expect_range("sequence.replay_targets", self.replay_targets, 1, 200)
        _expect("sequence.replay_weight", self.replay_weight, self.replay_weight >= 0, ">= 0")
        _expect_range("sequence.replay_context", self.replay_context, 1, 1000)
        _expect("sequence.replay_capacity_events", self.replay_capacity_events, self.replay_capacity_events > 0, ">= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """How fast the trust in each channel moves."""

    learning_rate: float = 0.01
    """Step of Adam on the channel weights. More than 0."""
    first_weights: Mapping[str, float] = field(default_factory=lambda: FIRST_WEIGHTS)
    """Weight of each channel before anything was learned, of every channel there is."""

    def __post_init__(self) -> None:
        _expect("fusion.learning_rate", self.learning_rate, self.learning_rate > 0, "> 0")
        names = sorted(self.first_weights)
        _expect("fusion.first_weights", names, names == sorted(FIRST_WEIGHTS), f"a weight of {sorted(FIRST_WEIGHTS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerConfig:
    """The network that orders the best of the mixture anew."""

    num_best: int = 64
    """N, items of the mixture that it sees. 1 to 10000."""
    width: int = 64
    """Width of its hidden layer. 1 to 1024."""
    learning_rate: float = 0.005
    """Step of Adam. More than 0."""
    mean_steps: int = 200
    """Steps whose weights make the mean that orders; 1: the newest weights alone. 1 to 100000."""

    def __post_init__(self) -> None:
        _expect_range("reranker.num_best", self.num_best, 1, 10_000)
        _expect_range("reranker.mean_steps", self.mean_steps, 1, 100_000)
        _expect_range("reranker.width", self.width, 1, 1024)
        _expect("reranker.learning_rate", self.learning_rate, self.learning_rate > 0, "> 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Everything the learner can be told."""

    scorer: str = "sequence"
    """Which scorer leads: a name of ``SCORERS``."""
    k: int = 10
    """K of the lists kept in step reports. 1 to 1000."""
    sub_step_events: int = 64
    """Events learned together; evaluating them takes some 55 bytes times this times the items. 1 to 512."""
    history_length: int = 50
    """L, events remembered per user. 2 to 1000."""
    owned_capacity: int = 4096
    """Most items remembered as owned per user; beyond it the oldest is forgotten. At least 1."""
    seed: int = 0
    """Of every random choice. 0 to 2**63 - 1."""
    device: str = "auto"
    """auto, cpu or cuda."""
    deterministic: bool = False
    """On CUDA, the same bits on every run, at some cost: switches torch's deterministic kernels on in the whole process
    (see ``resolve_device``). On the CPU nothing changes: the same bits come each time anyway."""
    popularity: PopularityConfig = field(default_factory=PopularityConfig)
    transitions: TransitionsConfig = field(default_factory=TransitionsConfig)
    successors: TransitionsConfig = field(default_factory=lambda: TransitionsConfig(num_recent=1, num_slots=128))
    """A second transition memory, of what came right after the newest item."""
    cooccurrence: TransitionsConfig = field(
        default_factory=lambda: TransitionsConfig(num_recent=14, position_decay=0.9)
    )
    """The memory of what comes near what; its ``popularity_power`` is not used: a cosine is one half."""
    baskets: TransitionsConfig = field(
        default_factory=lambda: TransitionsConfig(num_recent=32, position_decay=1.0, num_slots=128)
    )
    """The memory of what comes in one session; its ``popularity_power`` is not used either."""
    neighbours: NeighboursConfig = field(default_factory=NeighboursConfig)
    recency: RecencyConfig = field(default_factory=RecencyConfig)
    frequency: FrequencyConfig = field(default_factory=FrequencyConfig)
    mf: FactorizationConfig = field(default_factory=FactorizationConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    reranker: RerankerConfig = field(default_factory=RerankerConfig)

    def __post_init__(self) -> None:
        _expect_range("k", self.k, 1, 1000)
        _expect_range("sub_step_events", self.sub_step_events, 1, 512)
        _expect_range("history_length", self.history_length, 2, 1000)
        _expect("owned_capacity", self.owned_capacity, self.owned_capacity >= 1, ">= 1")
        _expect_range("seed", self.seed, 0, 2**63 - 1)
        _expect("device", self.device, self.device in DEVICES, f"one of {', '.join(DEVICES)}")

    def hyperparameters(self) -> dict[str, Any]:
        """Return everything here that decides what is learned, as dotted name to value, such as ``sequence.width``.

        Where and how it is computed (``device``, ``deterministic``) is not among it.
        """
        named = dict(_flat(asdict(self)))
        del named["device"], named["deterministic"]
        return named | {f"{name}.half_life_events": value for name, value in HALF_LIVES_EVENTS.items()}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _expect_range(name: str, value: float, low: float, high: float) -> None:
    """Check the range; where it is given in whole numbers the value must be one, too."""
    is_whole = isinstance(value, int) or isinstance(low, float)
    _expect(name, value, is_whole and low <= value <= high, f"{low}..{high}")


def _expect(name: str, value: object, is_fine: bool, expected: str) -> None:
    if not is_fine:
        raise ConfigError(f"{name}: expected {expected}, got {value!r}")
