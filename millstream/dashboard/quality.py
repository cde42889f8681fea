"""The second screen: how good the lists are, and what makes them."""

from millstream.dashboard.expressions import EVALUATED_1H, mean_by_model, percentile
from millstream.dashboard.overview import HIT_RATIO, LEAD
from millstream.dashboard.panels import Board, Panel, Query, stat

__all__ = ["QUALITY"]

QUALITY = Board(
    name="quality",
    title="Millstream quality",
    description="How good the lists are, beside the baselines, and what makes them.",
    rows=(
        (
            LEAD,
            stat(
                "NDCG, 1 h",
                "Mean NDCG@k of the model over the events of the last hour, each before it was learned.",
                "percentunit",
                f'sum(rate(millstream_ndcg_total{{model="model"}}[1h])) / {EVALUATED_1H}',
            ),
            stat(
                "Hit rate, 1 h",
                "Share of the events of the last hour whose item was in the list made without them.",
                "percentunit",
                f'sum(rate(millstream_hits_total{{model="model"}}[1h])) / {EVALUATED_1H}',
            ),
            stat(
                "MRR, 1 h",
                "Mean reciprocal rank of the item over the events of the last hour, 0 beyond the list.",
                "percentunit",
                f'sum(rate(millstream_reciprocal_rank_total{{model="model"}}[1h])) / {EVALUATED_1H}',
            ),
            stat(
                "Coverage",
                "Share of the known items that were in at least one of the newest lists.",
                "percentunit",
                'max(millstream_coverage_ratio{model="model", window="sliding"})',
            ),
            stat(
                "List overlap, 15 min",
                "Share of a list that was in the same user's list before it; 100 % means the same items.",
                "percentunit",
                "sum(rate(millstream_list_overlap_ratio_sum[15m])) / "
                "clamp_min(sum(rate(millstream_list_overlap_ratio_count[15m])), 1e-9)",
                maximum=1,
            ),
            stat(
                "Events judged",
                "Positive events a second, of items that their user did not have; quality is a mean over these.",
                "eps",
                'sum(rate(millstream_evaluated_events_total{model="model"}[$__rate_interval]))',
            ),
            stat(
                "Drift alarms, 1 h",
                "Times that ADWIN found the model's loss to have risen.",
                "none",
                "round(sum(increase(millstream_drift_alarms_total[1h])))",
                steps=((None, "green"), (1, "orange")),
            ),
        ),
        (
            Panel(
                title="NDCG, 15 min",
                description="Mean NDCG@k over the events of 15 minutes; model and baselines on the same events.",
                unit="percentunit",
                queries=(
                    Query(mean_by_model("millstream_ndcg_total", "millstream_evaluated_events_total"), "{{model}}"),
                ),
            ),
            HIT_RATIO,
        ),
        (
            Panel(
                title="Loss",
                description="Mean log-loss of the model before learning, over the newest events and over 15 minutes.",
                unit="none",
                queries=(
                    Query("max(millstream_model_loss_nats)", "newest events, nats"),
                    Query(
                        "sum(rate(millstream_loss_nats_total[15m])) / clamp_min("
                        'sum(rate(millstream_evaluated_events_total{model="model"}[15m])), 1e-9)',
                        "15 min, nats",
                    ),
                ),
            ),
            Panel(
                title="Share of each channel",
                description="Size of each channel's learned weight among all of them: which memory is asked.",
                unit="percentunit",
                maximum=1,
                queries=(
                    Query(
                        "sum by (channel) (abs(millstream_fusion_weight))"
                        " / on () group_left () sum(abs(millstream_fusion_weight))",
                        "{{channel}}",
                    ),
                ),
                is_stacked=True,
            ),
        ),
        (
            Panel(
                title="Novelty",
                description="Mean self-information of listed items, in nats: minus the log of their share of recent "
                "events. Higher is less known.",
                unit="none",
                queries=(
                    Query(
                        mean_by_model("millstream_self_information_nats_total", "millstream_listed_items_total"),
                        "{{model}}",
                    ),
                ),
                width=8,
            ),
            Panel(
                title="Coverage, newest events",
                description="Share of the known items that were in at least one of the newest lists.",
                unit="percentunit",
                queries=(Query('avg by (model) (millstream_coverage_ratio{window="sliding"})', "{{model}}"),),
                width=8,
            ),
            Panel(
                title="List overlap",
                description="Share of a list that was in the same user's list before it: 1 is the same items.",
                unit="percentunit",
                maximum=1,
                queries=(
                    Query(percentile(0.1, "millstream_list_overlap_ratio", "15m"), "p10"),
                    Query(percentile(0.5, "millstream_list_overlap_ratio", "15m"), "p50"),
                    Query(percentile(0.9, "millstream_list_overlap_ratio", "15m"), "p90"),
                ),
                width=8,
            ),
        ),
    ),
)
