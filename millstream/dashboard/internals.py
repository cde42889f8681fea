"""The third screen: where the time and the memory go, and what a restart would cost."""

from millstream.dashboard.expressions import percentiles
from millstream.dashboard.overview import CHECKPOINT_AGE, STAGES
from millstream.dashboard.panels import Board, Panel, Query, stat

__all__ = ["INTERNALS"]

INTERNALS = Board(
    name="internals",
    title="Millstream internals",
    description="Where the time and the memory go, and what a restart would cost.",
    rows=(
        (
            stat("Epoch", "Number of the newest committed micro-batch.", "short", "max(millstream_epoch)"),
            stat(
                "Mean batch",
                "Records of a micro-batch; near batching.max_events all the time means that it is behind.",
                "short",
                "sum(rate(millstream_batch_records_sum[5m]))"
                " / clamp_min(sum(rate(millstream_batch_records_count[5m])), 1e-9)",
            ),
            stat(
                "Weights learned ago",
                "Age of the newest commit that taught the model something.",
                "s",
                "time() - max(last_over_time(millstream_last_learned_timestamp_seconds[1d]) > 0 or "
                'last_over_time(process_start_time_seconds{job="millstream"}[1d]))',
            ),
            CHECKPOINT_AGE,
            stat(
                "Checkpoint",
                "Size of the newest checkpoint.",
                "bytes",
                "max(millstream_checkpoint_bytes)",
            ),
            stat(
                "Last recovery",
                "How long the last start took to rebuild the state.",
                "s",
                "max(millstream_recovery_seconds)",
            ),
            stat(
                "Starts, 1 h",
                "How often the worker was started again within the last hour.",
                "none",
                'sum(changes(process_start_time_seconds{job="millstream"}[1h]))',
                steps=((None, "green"), (1, "orange"), (3, "red")),
            ),
            stat(
                "Aborted, 1 h",
                "Transactions that were rolled back, or refused because another worker took over.",
                "none",
                'round(sum(increase(millstream_transactions_total{outcome=~"aborted|fenced"}[1h])))',
                steps=((None, "green"), (1, "red")),
            ),
        ),
        (
            STAGES,
            Panel(
                title="Longest tenth of each stage",
                description="Nine of ten micro-batches were faster than this in the stage.",
                unit="s",
                queries=(
                    Query(
                        "histogram_quantile(0.9, sum by (le, stage) "
                        "(rate(millstream_stage_seconds_bucket[$__rate_interval])))",
                        "{{stage}}",
                    ),
                ),
                minimum=None,
                is_logarithmic=True,
            ),
        ),
        (
            Panel(
                title="Event time to list",
                description="From the time in the event to the visible list: what the producers take is in it, too.",
                unit="s",
                queries=percentiles("millstream_event_time_to_publish_seconds"),
                minimum=None,
                is_logarithmic=True,
            ),
            Panel(
                title="Odd events",
                description="Events a second that are late, repeated, under a used id, or whose key is not their user.",
                unit="eps",
                queries=(
                    Query("sum(rate(millstream_late_events_total[$__rate_interval]))", "late"),
                    Query(
                        'sum(rate(millstream_events_total{outcome="duplicate"}[$__rate_interval]))',
                        "repeated",
                    ),
                    Query("sum(rate(millstream_reused_ids_total[$__rate_interval]))", "id used before"),
                    Query("sum(rate(millstream_split_users_total[$__rate_interval]))", "users split"),
                    Query("sum by (reason) (rate(millstream_key_mismatch_total[$__rate_interval]))", "key {{reason}}"),
                ),
            ),
        ),
        (
            Panel(
                title="Users and items",
                description="Users with a state and items with a row; both end at their capacity.",
                unit="short",
                queries=(Query("sum(millstream_users)", "users"), Query("max(millstream_items)", "items")),
                width=6,
            ),
            Panel(
                title="Evictions",
                description="Users and items that lost their row a second: to newer ones (full), or unseen for long.",
                unit="ops",
                queries=(
                    Query(
                        "sum by (table, reason) (rate(millstream_evictions_total[$__rate_interval]))",
                        "{{table}} {{reason}}",
                    ),
                ),
                width=6,
            ),
            Panel(
                title="Table rows",
                description="Used rows of the model's tables.",
                unit="short",
                queries=(Query("sum by (table) (millstream_table_rows)", "{{table}}"),),
                width=12,
            ),
        ),
        (
            Panel(
                title="Memory",
                description="Memory of the process, and of the GPU (0 without one).",
                unit="bytes",
                queries=(
                    Query('sum(process_resident_memory_bytes{job="millstream"})', "process"),
                    Query("sum by (kind) (millstream_gpu_memory_bytes)", "GPU {{kind}}"),
                ),
                width=8,
            ),
            Panel(
                title="CPU",
                description="Cores in use by the worker.",
                unit="none",
                queries=(Query('sum(rate(process_cpu_seconds_total{job="millstream"}[$__rate_interval]))', "cores"),),
                width=8,
            ),
            Panel(
                title="Writing a checkpoint",
                description="How long the newest one took to write, and how long the stream stood still for its copy.",
                unit="s",
                queries=(
                    Query("max(millstream_checkpoint_seconds)", "written in"),
                    Query("max(millstream_checkpoint_copy_seconds)", "copied in"),
                ),
                width=8,
            ),
        ),
        (
            Panel(
                title="Held back by producers",
                description="For how long a producer's open transaction has kept records from being read.",
                unit="s",
                queries=(Query("max(millstream_held_back_seconds)", "longest"),),
                width=8,
            ),
            Panel(
                title="Foreign records in the journal",
                description="Records of the journal topic that are none of ours, as far as the last start looked back.",
                unit="short",
                queries=(Query("max(millstream_journal_foreign_records)", "records"),),
                width=8,
            ),
            Panel(
                title="Connections",
                description="Connections to the worker's port, idle ones too.",
                unit="short",
                queries=(Query("sum by (instance) (millstream_http_connections)", "{{instance}}"),),
                width=8,
            ),
        ),
    ),
)
