"""Quantiles out of a histogram's buckets."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from solarhub.metrics_client import HubMetricsClient


def seen(*values_s: float) -> HubMetricsClient:
    registry = CollectorRegistry()
    histogram = Histogram("took_seconds", "Time", buckets=(0.1, 0.2, 1.0), registry=registry)
    for value_s in values_s:
        histogram.observe(value_s)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return HubMetricsClient([sample for family in families for sample in family.samples])


def test_nothing_seen_has_no_quantile() -> None:
    assert seen().quantile_s("took_seconds", 0.5) is None


def test_a_quantile_lies_inside_its_bucket() -> None:
    measures = seen(0.05, 0.15, 0.15, 0.9)
    assert measures.quantile_s("took_seconds", 0.5) == pytest.approx(0.15)
    assert measures.quantile_s("took_seconds", 0.99) == pytest.approx(0.968)


def test_beyond_the_last_bucket_its_limit_is_told() -> None:
    assert seen(7).quantile_s("took_seconds", 0.5) == 1.0


def test_a_total_sums_all_labels_and_is_0_for_what_was_never_counted() -> None:
    assert seen(0.05, 7).total("took_seconds_count") == 2
    assert seen().total("unheard_of") == 0
