"""Learners that are taught by one batch of events after another: arrays in, arrays out."""

from online_models.batch import NO_ROW, Batch, TopK
from online_models.config import (
    MODEL_VERSION,
    FactorizationConfig,
    FrequencyConfig,
    FusionConfig,
    LearnerConfig,
    NeighboursConfig,
    PopularityConfig,
    RecencyConfig,
    RerankerConfig,
    SequenceConfig,
    TransitionsConfig,
)
from online_models.errors import CapacityError, ConfigError, ShapeError, StateError
from online_models.evaluation.prequential import StepReport
from online_models.evaluation.rank_metrics import hit_rate, ndcg, reciprocal_rank
from online_models.ids.admission import Admission
from online_models.ids.id_index import IdIndex, PartitionedIndex
from online_models.learner import OnlineLearner
from online_models.ranking.explanation import RERANKER, Explanation
from online_models.retrieval.exact import exact_topk
from online_models.runtime.device import DEVICES, cpu_facts, limit_cpu_threads, resolve_device
from online_models.runtime.effort import Effort
from online_models.runtime.malloc import keep_freed_memory
from online_models.scorers.registry import BASELINES, SCORERS
from online_models.tables.decay import DecayingScale
from online_models.tables.state_tree import State, digest, flatten, is_finite, unflatten

__all__ = [
    "BASELINES",
    "DEVICES",
    "MODEL_VERSION",
    "NO_ROW",
    "RERANKER",
    "SCORERS",
    "Admission",
    "Batch",
    "CapacityError",
    "ConfigError",
    "DecayingScale",
    "Effort",
    "Explanation",
    "FactorizationConfig",
    "FrequencyConfig",
    "FusionConfig",
    "IdIndex",
    "LearnerConfig",
    "NeighboursConfig",
    "OnlineLearner",
    "PartitionedIndex",
    "PopularityConfig",
    "RecencyConfig",
    "RerankerConfig",
    "SequenceConfig",
    "ShapeError",
    "State",
    "StateError",
    "StepReport",
    "TopK",
    "TransitionsConfig",
    "cpu_facts",
    "digest",
    "exact_topk",
    "flatten",
    "hit_rate",
    "is_finite",
    "keep_freed_memory",
    "limit_cpu_threads",
    "ndcg",
    "reciprocal_rank",
    "resolve_device",
    "unflatten",
]
