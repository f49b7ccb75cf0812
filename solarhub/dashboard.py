"""What the demo shows: figures of a running hub, as a table or a line."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import httpx
from rich.table import Table

from db.pool import Pool
from db.totals import Totals, totals
from solarhub.metrics_client import HubMetricsClient, measure

_READINGS = ("received", "stored", "duplicate", "rejected")
_LOOKS_KEPT = 5
_SETTLED_AFTER_S = 1.0
_SETTLED_WITHIN_S = 10.0
_LATENCY = "solarhub_feed_commit_to_socket_seconds"


@dataclass(frozen=True, slots=True)
class DashboardFigures:
    at_s: float
    measures: HubMetricsClient
    totals: Totals

    def readings(self, kind: str) -> float:
        return self.measures.total(f"solarhub_readings_{kind}_total")

    def latency_ms(self, share: float) -> str:
        """From an event's commit to its last socket."""
        value_s = self.measures.quantile_s(_LATENCY, share)
        return "–" if value_s is None else f"{1000 * value_s:.0f} ms"


class FigureWatcher:
    """Looks at a hub now and then; `before` is some looks ago, so that rates are steady."""

    def __init__(self, api_url: str, pool: Pool, http: httpx.AsyncClient) -> None:
        self._api_url = api_url
        self._pool = pool
        self._http = http
        self._looks: deque[DashboardFigures] = deque(maxlen=_LOOKS_KEPT)

    @property
    def now(self) -> DashboardFigures:
        return self._looks[-1]

    @property
    def before(self) -> DashboardFigures:
        return self._looks[0]

    async def look(self) -> None:
        measures = await measure(self._http, self._api_url)
        self._looks.append(DashboardFigures(time.monotonic(), measures, await totals(self._pool)))

    async def until_settled(self) -> None:
        """Until nothing new comes in and every event is published; not longer than some seconds."""
        self._looks.clear()
        await self.look()
        deadline_s = self.now.at_s + _SETTLED_WITHIN_S
        while self.now.at_s < deadline_s:
            await asyncio.sleep(_SETTLED_AFTER_S)
            received = self.now.readings("received")
            await self.look()
            if self.now.readings("received") == received and not self.now.totals.waiting_events:
                return


def _rate(watch: FigureWatcher, kind: str) -> float:
    elapsed_s = watch.now.at_s - watch.before.at_s
    rise = watch.now.readings(kind) - watch.before.readings(kind)
    return rise / elapsed_s if elapsed_s > 0 else 0.0


def as_table(watch: FigureWatcher) -> Table:
    now = watch.now
    table = Table(title="solarhub", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    for kind in _READINGS:
        rate = f"{_rate(watch, kind):,.0f}/s"
        table.add_row(f"readings {kind}", f"{now.readings(kind):,.0f}", rate)
    table.add_section()
    table.add_row("devices", f"{now.totals.devices:,}")
    table.add_row("active listings", f"{now.totals.active_listings:,}")
    table.add_row("purchases", f"{now.totals.purchases:,}")
    table.add_row("energy sold", f"{now.totals.energy_kwh:,} kWh")
    table.add_row("paid", f"{now.totals.paid_inr:,} INR")
    table.add_section()
    total = now.measures.total
    table.add_row("events published", f"{total('solarhub_events_published_total'):,.0f}")
    table.add_row("sockets", f"{total('solarhub_feed_clients'):,.0f}")
    table.add_row("events delivered", f"{total('solarhub_feed_deliveries_total'):,.0f}")
    table.add_row("commit to socket", now.latency_ms(0.5), f"p99 {now.latency_ms(0.99)}")
    return table


def as_line(watch: FigureWatcher) -> str:
    now = watch.now
    counts = ", ".join(f"{now.readings(kind):,.0f} {kind}" for kind in _READINGS)
    return (
        f"readings: {counts} ({_rate(watch, 'received'):,.0f}/s);"
        f" {now.totals.active_listings} active listings; {now.totals.purchases} purchases,"
        f" {now.totals.energy_kwh} kWh, {now.totals.paid_inr} INR;"
        f" {now.measures.total('solarhub_events_published_total'):,.0f} events,"
        f" {now.measures.total('solarhub_feed_clients'):,.0f} sockets,"
        f" commit to socket {now.latency_ms(0.5)} (p99 {now.latency_ms(0.99)})"
    )
