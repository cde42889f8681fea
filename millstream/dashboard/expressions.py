"""PromQL that several panels share. Divisors have a floor: where nothing happened there is a 0 and not a hole."""

from millstream.dashboard.panels import Query

__all__ = ["EVALUATED_1H", "mean_by_model", "percentile", "percentiles"]

EVALUATED_1H = 'clamp_min(sum(rate(millstream_evaluated_events_total{model="model"}[1h])), 1e-9)'
"""Evaluated events a second over an hour."""


def percentile(share: float, metric: str, window: str = "$__rate_interval") -> str:
    """Return the expression for the value of a histogram that `share` of its observations in `window` were below."""
    return f"histogram_quantile({share:g}, sum by (le) (rate({metric}_bucket[{window}])))"


def percentiles(metric: str) -> tuple[Query, ...]:
    """Return the median, the 90th and the 99th percentile of a histogram."""
    return tuple(Query(percentile(share, metric), f"p{share * 100:g}") for share in (0.5, 0.9, 0.99))


def mean_by_model(sums: str, counts: str, window: str = "15m") -> str:
    """Return the expression for one counter over another in `window`, for each model."""
    return f"sum by (model) (rate({sums}[{window}])) / clamp_min(sum by (model) (rate({counts}[{window}])), 1e-9)"
