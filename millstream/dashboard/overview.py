"""The first screen: are the lists fresh, right and good?"""

from millstream.dashboard.expressions import EVALUATED_1H, percentile, percentiles
from millstream.dashboard.panels import Board, Panel, Query, stat

__all__ = ["CHECKPOINT_AGE", "HIT_RATIO", "LEAD", "OVERVIEW", "STAGES"]

_READY = stat(
    "Ready",
    "Whether the worker has its topics, offsets and model and takes part in the stream. No: see /readyz.",
    "bool_yes_no",
    "min(millstream_ready) or vector(0)",
    maximum=1,
    steps=((None, "red"), (1, "green")),
)
_FIRING = stat(
    "Alerts",
    "Alerts that fire now; what to do about each is in docs/runbook.md.",
    "none",
    'count(ALERTS{alertstate="firing", alertname=~"Millstream.*"}) or vector(0)',
    steps=((None, "green"), (1, "red")),
)
_FRESHNESS = stat(
    "List delay, p99",
    "From record to visible list, 99 of 100 events of the last five minutes; 0 while nothing came.",
    "s",
    percentile(0.99, "millstream_event_to_publish_seconds", "5m") + " >= 0 or 0 * sum(millstream_ready)",
    steps=((None, "green"), (5, "orange"), (30, "red")),
)
_COMMIT_AGE = stat(
    "Last commit ago",
    "Age of the newest committed micro-batch. It also grows while no events come in, and while the worker is gone.",
    "s",
    "time() - max(last_over_time(millstream_last_commit_timestamp_seconds[1d]))",
)
_WAITING = stat(
    "Events waiting",
    "Committed records that were not read yet, all partitions.",
    "short",
    "sum(millstream_consumer_lag_records) or 0 * sum(millstream_ready)",
    steps=((None, "green"), (1000, "orange")),
)
_UNREADABLE = stat(
    "Unreadable, 10 min",
    "Share of the records that went to the dead-letter topic.",
    "percentunit",
    "sum(rate(millstream_dead_letters_total[10m])) / clamp_min("
    "sum(rate(millstream_dead_letters_total[10m])) + sum(rate(millstream_events_total[10m])), 1e-9)",
    steps=((None, "green"), (0.01, "red")),
)
LEAD = stat(
    "NDCG ahead, 1 h",
    "NDCG of the model minus that of the better baseline, on the same events. Below 0: the baseline serves better.",
    "percentunit",
    '(sum(rate(millstream_ndcg_total{model="model"}[1h]))'
    f' - max(sum by (model) (rate(millstream_ndcg_total{{model!="model"}}[1h])))) / {EVALUATED_1H}',
    minimum=None,
    steps=((None, "red"), (0, "green")),
)
CHECKPOINT_AGE = stat(
    "Checkpoint ago",
    "Age of the newest checkpoint, or of the process while it has written none: what a restart learns again.",
    "s",
    "time() - max(last_over_time(millstream_checkpoint_last_success_timestamp_seconds[1d]) > 0 or "
    'last_over_time(process_start_time_seconds{job="millstream"}[1d]))',
)
_DELAY = Panel(
    title="List delay",
    description="From record to visible list. Grows with the lag; events that are older than the worker are late.",
    unit="s",
    queries=percentiles("millstream_event_to_publish_seconds"),
    minimum=None,
    is_logarithmic=True,
)
_TRAFFIC = Panel(
    title="Events and lists",
    description="What comes in, by outcome, and lists published. One list for each user of a micro-batch.",
    unit="eps",
    queries=(
        Query("sum by (outcome) (rate(millstream_events_total[$__rate_interval]))", "events {{outcome}}"),
        Query("sum(rate(millstream_lists_published_total[$__rate_interval]))", "lists"),
    ),
)
HIT_RATIO = Panel(
    title="Hit rate, newest events",
    description="Share of events whose item was in the list made without them; model and baselines on the same events.",
    unit="percentunit",
    queries=(Query('avg by (model) (millstream_hit_ratio{window="sliding"})', "{{model}}"),),
)
_LAG = Panel(
    title="Events waiting",
    description="Committed records not read yet, by partition, and those behind a producer's open transaction.",
    unit="short",
    queries=(
        Query("sum by (partition) (millstream_consumer_lag_records)", "partition {{partition}}"),
        Query("sum(millstream_held_back_records)", "held back by a producer"),
    ),
    is_stacked=True,
)
STAGES = Panel(
    title="Time by stage",
    description="Share of the time that each stage takes; poll includes waiting for records.",
    unit="percentunit",
    queries=(Query("sum by (stage) (rate(millstream_stage_seconds_sum[$__rate_interval]))", "{{stage}}"),),
    is_stacked=True,
)
_DEAD_LETTERS = Panel(
    title="Unreadable records",
    description="Records a second that went to the dead-letter topic, by reason.",
    unit="eps",
    queries=(Query("sum by (code) (rate(millstream_dead_letters_total[$__rate_interval]))", "{{code}}"),),
    is_stacked=True,
)

OVERVIEW = Board(
    name="overview",
    title="Millstream overview",
    description="Are the lists fresh, right and good?",
    rows=(
        (_READY, _FIRING, _FRESHNESS, _COMMIT_AGE, _WAITING, _UNREADABLE, LEAD, CHECKPOINT_AGE),
        (_DELAY, _TRAFFIC),
        (HIT_RATIO, _LAG),
        (STAGES, _DEAD_LETTERS),
    ),
)
