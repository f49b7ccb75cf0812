"""Totals and quantiles of scraped metrics."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from solarhub.metrics_client import MetricsSnapshot


def snapshot_of(*values_s: float) -> MetricsSnapshot:
    registry = CollectorRegistry()
    histogram = Histogram("took_seconds", "Time", buckets=(0.1, 0.2, 1.0), registry=registry)
    for value_s in values_s:
        histogram.observe(value_s)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return MetricsSnapshot([sample for family in families for sample in family.samples])


def test_a_histogram_without_observations_has_no_quantile() -> None:
    assert snapshot_of().quantile_s("took_seconds", 0.5) is None


def test_a_quantile_lies_inside_its_bucket() -> None:
    snapshot = snapshot_of(0.05, 0.15, 0.15, 0.9)
    assert snapshot.quantile_s("took_seconds", 0.5) == pytest.approx(0.15)
    assert snapshot.quantile_s("took_seconds", 0.99) == pytest.approx(0.968)


def test_a_quantile_beyond_the_last_bucket_is_its_bound() -> None:
    assert snapshot_of(7).quantile_s("took_seconds", 0.5) == 1.0


def test_a_total_sums_all_labels_and_is_0_without_samples() -> None:
    assert snapshot_of(0.05, 7).total("took_seconds_count") == 2
    assert snapshot_of().total("unheard_of") == 0
