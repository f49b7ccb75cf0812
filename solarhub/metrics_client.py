"""What a running hub says of itself: `/metrics`, as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class HubMetricsClient:
    samples: Sequence[Sample]

    def total(self, name: str) -> float:
        """The sum over all labels; 0 for what was never counted."""
        return sum(sample.value for sample in self.samples if sample.name == name)

    def quantile_s(self, histogram: str, share: float) -> float | None:
        """Where that share of what the histogram saw lies, straight lines between its buckets."""
        buckets = sorted(
            (float(sample.labels["le"]), sample.value)
            for sample in self.samples
            if sample.name == f"{histogram}_bucket"
        )
        if not buckets or not buckets[-1][1]:
            return None
        wanted = share * buckets[-1][1]
        lower_s, below = 0.0, 0.0
        for upper_s, up_to in buckets:
            if up_to >= wanted:
                break
            lower_s, below = upper_s, up_to
        if upper_s == float("inf") or up_to == below:
            return lower_s
        return lower_s + (upper_s - lower_s) * (wanted - below) / (up_to - below)


async def measure(http: httpx.AsyncClient, api_url: str) -> HubMetricsClient:
    """Raises httpx.HTTPError when the hub does not answer."""
    answer = (await http.get(f"{api_url}/metrics")).raise_for_status()
    families = text_string_to_metric_families(answer.text)
    return HubMetricsClient([sample for family in families for sample in family.samples])
