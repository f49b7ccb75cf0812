"""The demo's dashboard: metrics and totals of a running hub, as a table or a line."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import httpx
from rich.table import Table

from core.clock import REAL_TIME, Clock
from db.pool import Pool
from db.summary import Totals, totals
from simulators.sun import local
from solarhub.metrics_client import MetricsSnapshot, fetch_metrics

_READINGS = ("received", "stored", "duplicate", "rejected")
# Rates are averages over this many snapshots.
_SNAPSHOTS_KEPT = 5
# The hub is settled when nothing was received for this long.
_SETTLED_AFTER_S = 1.0
_SETTLED_WITHIN_S = 10.0
_LATENCY = "solarhub_feed_commit_to_socket_seconds"


@dataclass(frozen=True, slots=True)
class DashboardSnapshot:
    """Metrics and database totals of one moment; `at_s` is on the monotonic clock."""

    at_s: float
    metrics: MetricsSnapshot
    totals: Totals

    def readings(self, kind: str) -> float:
        return self.metrics.total(f"solarhub_readings_{kind}_total")

    def latency_ms(self, share: float) -> str:
        """Return a quantile of the time from an event's commit to its last socket."""
        value_s = self.metrics.quantile_s(_LATENCY, share)
        return "–" if value_s is None else f"{1000 * value_s:.0f} ms"


class DashboardWatcher:
    """Keeps the last snapshots of a hub; rates count from the oldest, so that they are steady."""

    def __init__(
        self, api_url: str, pool: Pool, http: httpx.AsyncClient, clock: Clock = REAL_TIME
    ) -> None:
        self.clock = clock
        self._api_url = api_url
        self._pool = pool
        self._http = http
        self._snapshots: deque[DashboardSnapshot] = deque(maxlen=_SNAPSHOTS_KEPT)

    @property
    def now(self) -> DashboardSnapshot:
        return self._snapshots[-1]

    @property
    def before(self) -> DashboardSnapshot:
        return self._snapshots[0]

    async def refresh(self) -> None:
        metrics = await fetch_metrics(self._http, self._api_url)
        async with self._pool.acquire() as conn:
            now = await totals(conn)
        self._snapshots.append(DashboardSnapshot(time.monotonic(), metrics, now))

    async def until_settled(self) -> None:
        """Wait until no reading arrives and every event is published, at most _SETTLED_WITHIN_S."""
        self._snapshots.clear()
        await self.refresh()
        deadline_s = self.now.at_s + _SETTLED_WITHIN_S
        while self.now.at_s < deadline_s:
            await asyncio.sleep(_SETTLED_AFTER_S)
            received = self.now.readings("received")
            await self.refresh()
            if self.now.readings("received") == received and not self.now.totals.waiting_events:
                return


def _rate(watcher: DashboardWatcher, kind: str) -> float:
    elapsed_s = watcher.now.at_s - watcher.before.at_s
    rise = watcher.now.readings(kind) - watcher.before.readings(kind)
    return rise / elapsed_s if elapsed_s > 0 else 0.0


def as_table(watcher: DashboardWatcher) -> Table:
    now = watcher.now
    table = Table(title="solarhub", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    if watcher.clock != REAL_TIME:
        pace = f"{watcher.clock.pace:g} × real time"
        table.add_row("time at the hub", f"{local(watcher.clock.now()):%a %d %b, %H:%M}", pace)
        table.add_section()
    for kind in _READINGS:
        rate = f"{_rate(watcher, kind):,.0f}/s"
        table.add_row(f"readings {kind}", f"{now.readings(kind):,.0f}", rate)
    table.add_section()
    table.add_row("devices", f"{now.totals.devices:,}")
    table.add_row("active listings", f"{now.totals.active_listings:,}")
    table.add_row("purchases", f"{now.totals.purchases:,}")
    table.add_row("energy sold", f"{now.totals.energy_kwh:,} kWh")
    table.add_row("paid", f"{now.totals.paid_inr:,} INR")
    table.add_section()
    total = now.metrics.total
    table.add_row("events published", f"{total('solarhub_events_published_total'):,.0f}")
    table.add_row("sockets", f"{total('solarhub_feed_clients'):,.0f}")
    table.add_row("events delivered", f"{total('solarhub_feed_deliveries_total'):,.0f}")
    table.add_row("commit to socket", now.latency_ms(0.5), f"p99 {now.latency_ms(0.99)}")
    return table


def as_line(watcher: DashboardWatcher) -> str:
    now = watcher.now
    counts = ", ".join(f"{now.readings(kind):,.0f} {kind}" for kind in _READINGS)
    return (
        f"readings: {counts} ({_rate(watcher, 'received'):,.0f}/s);"
        f" {now.totals.active_listings} active listings; {now.totals.purchases} purchases,"
        f" {now.totals.energy_kwh} kWh, {now.totals.paid_inr} INR;"
        f" {now.metrics.total('solarhub_events_published_total'):,.0f} events,"
        f" {now.metrics.total('solarhub_feed_clients'):,.0f} sockets,"
        f" commit to socket {now.latency_ms(0.5)} (p99 {now.latency_ms(0.99)})"
    )
