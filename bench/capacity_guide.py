"""The tables of docs/capacity.md: measured costs, and what fleets need at these costs.

    python -m bench.capacity_guide bench/results docs/capacity.md

Reads the results of the cases and of `bench.footprint`, and writes the tables between the markers
of the guide.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from bench.capacity import BUSY, COMPRESSED, Costs, Needs, carried_by

# Cores.
MACHINES = (2, 8, 32)
# Devices.
FLEETS = (10**4, 10**6, 10**7)
BEGIN, END = "<!-- figures: python -m bench.capacity_guide -->", "<!-- end of figures -->"
_KIB, _MB, _GB, _TB = 1024, 1e6, 1e9, 1e12

_LABELS = {
    "broker_us": "a message from its device to the ingester: Mosquitto, µs",
    "ingester_us": "a reading: ingester, µs",
    "postgres_reading_us": "a reading: PostgreSQL, µs",
    "relay_us": "an event: relay, µs",
    "redis_us": "an event: Redis, µs",
    "postgres_event_us": "an event in the outbox: PostgreSQL, µs",
    "hub_event_us": "an event in each hub: µs",
    "hub_frame_us": "a frame for a socket with a radius of its own: hub, µs",
    "api_page_us": "a page of nearby listings: API, µs",
    "postgres_page_us": "a page of nearby listings: PostgreSQL, µs",
    "api_purchase_us": "a purchase: API, µs",
    "postgres_purchase_us": "a purchase: PostgreSQL, µs",
    "message_bytes": "a message on the wire, without TCP and TLS: bytes",
    "telemetry_bytes": "a reading on disk, with its index: bytes",
    "wal_bytes": "a reading in PostgreSQL's WAL, with the rows it changes: bytes",
    "socket_kib": "a socket of the feed: KiB",
    "session_kib": "a device at the broker, without kernel buffers and TLS: KiB",
    "ingester_mb": "an ingester: MB",
}


def measured(results: Path) -> Costs:
    """Read the costs from the result files."""
    footprint: dict[str, float] = json.loads((results / "footprint.json").read_text())
    reading = _cpu_us(results, "scale", "10,000 devices")
    page = _cpu_us(results, "nearby", "hub, 1,000,000")
    purchase = _cpu_us(results, "purchase", "hub")
    names = {field.name for field in fields(Costs)}
    return Costs(
        **{name: value for name, value in footprint.items() if name in names},
        broker_us=round(footprint["broker_in_us"] + reading["Mosquitto"], 1),
        ingester_us=round(reading["ingester"], 1),
        postgres_reading_us=round(reading["PostgreSQL"], 1),
        api_page_us=round(page["API"]),
        postgres_page_us=round(page["PostgreSQL"]),
        api_purchase_us=round(purchase["API"]),
        postgres_purchase_us=round(purchase["PostgreSQL"]),
        socket_kib=round(median(_samples(results, "memory", "hub", "per_s")), 1),
        ingester_mb=round(max(_samples(results, "scale", "10,000 devices", "rss_mb"))),
    )


def _samples(results: Path, case: str, contestant: str, figure: str) -> list[Any]:
    document = json.loads((results / f"{case}.json").read_text())
    [found] = [c for c in document["contestants"] if c["name"] == contestant]
    return [sample[figure] for sample in found["samples"]]


def _cpu_us(results: Path, case: str, contestant: str) -> dict[str, float]:
    turns: list[Mapping[str, float]] = _samples(results, case, contestant, "cpu_us")
    return {name: median(turn[name] for turn in turns) for name in turns[0]}


def _rows(needs: Needs) -> Iterator[tuple[str, str]]:
    """Yield the rows of the guide for one fleet."""
    first = max(needs.limits(), key=lambda limit: limit[1])
    yield "readings/s", f"{needs.readings:,.0f}"
    yield "listing events/s", f"{needs.events:,.0f}"
    yield "purchases/s in the busiest hour", _figure(needs.purchases)
    yield "pages/s", f"{needs.pages:,.0f}"
    yield "open sockets", f"{needs.sockets:,.0f}"
    yield "frames/s", f"{needs.frames:,.0f}"
    traffic = needs.readings * needs.costs.message_bytes * 8 / _MB
    yield "traffic from devices, Mbit/s", _figure(traffic)
    yield "regions", f"{needs.regions}"
    yield "first limit", f"{first[0]}, {first[1] / needs.regions:.0%} full"
    yield "broker: cores · nodes", _pool(needs.broker_cores, needs.regions)
    yield "`ingest`: cores · processes", _pool(needs.ingester_cores, needs.regions)
    yield "PostgreSQL primaries: cores", _figure(needs.primary_cores)
    yield "WAL of the primaries, MB/s", _figure(needs.log_mb)
    yield "PostgreSQL replicas: cores", _figure(needs.replica_cores)
    yield "`api`: cores · processes", _pool(needs.api_cores, needs.regions)
    yield "`relay`: cores · active", f"{_figure(needs.relay_cores)} · {needs.regions}"
    yield "Redis: cores", _figure(needs.redis_cores)
    yield "`realtime`: cores · processes", f"{_figure(needs.hub_cores)} · {needs.hubs}"
    yield "all cores in use", _figure(needs.cores)
    yield "telemetry a day, raw", _size(needs.disk_bytes_a_day)
    yield "telemetry a day, compressed", _size(needs.disk_bytes_a_day / COMPRESSED)
    yield "stored for 90 days, all but the last 8 compressed", _size(needs.retained_bytes)
    yield "memory of sockets", _size(needs.sockets * needs.costs.socket_kib * _KIB)
    yield "memory of the brokers for devices", _size(needs.devices * needs.costs.session_kib * _KIB)


def _pool(cores: float, regions: int) -> str:
    """Describe cores, and processes that use one core each, at least one per region."""
    return f"{_figure(cores)} · {regions * ceil(cores / regions / BUSY)}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _size(size_bytes: float) -> str:
    for unit, scale in (("TB", _TB), ("GB", _GB), ("MB", _MB)):
        if size_bytes >= scale:
            return f"{_figure(size_bytes / scale)} {unit}"
    return f"{_figure(size_bytes)} bytes"


def tables(costs: Costs) -> str:
    """Return three Markdown tables: costs, devices per machine, and needs of fleets."""
    stated = [(_LABELS[field.name], f"{getattr(costs, field.name):g}") for field in fields(costs)]
    carried = [(f"{n} cores", f"{carried_by(n, costs):,}") for n in MACHINES]
    needed = [list(_rows(Needs(devices, costs))) for devices in FLEETS]
    figures = [(rows[0][0], *(value for _, value in rows)) for rows in zip(*needed, strict=True)]
    return "\n".join(
        [
            *_table(("cost of one", "CPU time, size"), stated), "",
            *_table(("one machine", "devices"), carried), "",
            *_table(("devices", *(f"{size:,}" for size in FLEETS)), figures),
        ]
    )  # fmt: skip


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heading, ["---"] + ["---:"] * (len(heading) - 1), *rows):
        yield f"| {' | '.join(row)} |"


def stated_in(guide: str) -> Costs:
    """Return the costs that the first table of a guide states."""
    cells = dict(
        line.strip("| ").split(" | ") for line in guide.split("\n") if line.count("|") == 3
    )
    return Costs(**{name: float(cells[what].replace(",", "")) for name, what in _LABELS.items()})


def between_markers(guide: str) -> str:
    return guide.partition(BEGIN)[2].partition(END)[0].strip()


if __name__ == "__main__":
    results, path = map(Path, sys.argv[1:])
    guide = path.read_text()
    before, after = guide.partition(BEGIN)[0], guide.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{tables(measured(results))}\n{END}{after}")
