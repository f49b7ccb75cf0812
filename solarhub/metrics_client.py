"""A client of a hub's `/metrics`: totals and quantiles as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """All samples of one scrape."""

    samples: Sequence[Sample]

    def total(self, name: str) -> float:
        """Return the sum over all labels; 0 for a metric without samples."""
        return sum(sample.value for sample in self.samples if sample.name == name)

    def quantile_s(self, histogram: str, share: float) -> float | None:
        """Return a quantile in seconds, interpolated linearly inside its bucket.

        None without observations; the highest finite bound for a quantile beyond it.
        """
        buckets = sorted(
            (float(sample.labels["le"]), sample.value)
            for sample in self.samples
            if sample.name == f"{histogram}_bucket"
        )
        if not buckets or not buckets[-1][1]:
            return None
        rank = share * buckets[-1][1]
        lower_s, count_below = 0.0, 0.0
        for upper_s, count_up_to in buckets:
            if count_up_to >= rank:
                break
            lower_s, count_below = upper_s, count_up_to
        if upper_s == float("inf") or count_up_to == count_below:
            return lower_s
        return lower_s + (upper_s - lower_s) * (rank - count_below) / (count_up_to - count_below)


async def fetch_metrics(http: httpx.AsyncClient, url: str) -> MetricsSnapshot:
    """Scrape `/metrics` at `url`. Raises httpx.HTTPError."""
    response = (await http.get(f"{url}/metrics")).raise_for_status()
    families = text_string_to_metric_families(response.text)
    return MetricsSnapshot([sample for family in families for sample in family.samples])
