"""The capacity model: resources that a fleet needs, calculated from measured costs. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

# Assumptions about a fleet and its users at the busiest time, a clear noon.
REPORT_EVERY_S = 10
# Part of the devices with a metered listing, which changes with every reading.
FOLLOWED = 0.5
# Open sockets per device, each watching a radius of 5 km.
SOCKETS = 0.1
LISTINGS_IN_RADIUS = 65
# Per open socket.
PAGE_EVERY_S = 30
# Per device; ratio of the busiest hour to the mean.
PURCHASES_A_DAY, PEAK = 1, 4

# Highest load of a process that uses one core, and of a primary.
BUSY = 0.6
PRIMARY_CORES, PRIMARY_LOG_MB = 8, 200
# Telemetry on TimescaleDB: raw while readings may be late, then compressed, then dropped.
RAW_DAYS, RETAINED_DAYS, COMPRESSED = 8, 90, 15

DAY_S = 86_400
_S, _MB = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time in microseconds and sizes in bytes or KiB, per reading, event, page and so on."""

    broker_us: float
    ingester_us: float
    postgres_reading_us: float
    relay_us: float
    redis_us: float
    postgres_event_us: float
    hub_event_us: float
    hub_frame_us: float
    api_page_us: float
    postgres_page_us: float
    api_purchase_us: float
    postgres_purchase_us: float
    message_bytes: float
    telemetry_bytes: float
    wal_bytes: float
    socket_kib: float
    session_kib: float
    ingester_mb: float


@dataclass(frozen=True, slots=True)
class Needs:
    """Needs of a fleet of `devices`. Cores are fully used ones, without headroom."""

    devices: int
    costs: Costs

    @property
    def readings(self) -> float:
        return self.devices / REPORT_EVERY_S

    @property
    def events(self) -> float:
        return self.readings * FOLLOWED

    @property
    def sockets(self) -> float:
        return self.devices * SOCKETS

    @property
    def frames(self) -> float:
        return self.sockets * LISTINGS_IN_RADIUS / REPORT_EVERY_S

    @property
    def pages(self) -> float:
        return self.sockets / PAGE_EVERY_S

    @property
    def purchases(self) -> float:
        return self.devices * PURCHASES_A_DAY * PEAK / DAY_S

    @property
    def broker_cores(self) -> float:
        return self.readings * self.costs.broker_us * _S

    @property
    def ingester_cores(self) -> float:
        return self.readings * self.costs.ingester_us * _S

    @property
    def primary_cores(self) -> float:
        costs = self.costs
        return _S * (
            self.readings * costs.postgres_reading_us
            + self.events * costs.postgres_event_us
            + self.purchases * costs.postgres_purchase_us
        )

    @property
    def replica_cores(self) -> float:
        return self.pages * self.costs.postgres_page_us * _S

    @property
    def api_cores(self) -> float:
        costs = self.costs
        return _S * (self.pages * costs.api_page_us + self.purchases * costs.api_purchase_us)

    @property
    def relay_cores(self) -> float:
        return self.events * self.costs.relay_us * _S

    @property
    def redis_cores(self) -> float:
        return self.events * self.costs.redis_us * _S

    @property
    def log_mb(self) -> float:
        return self.readings * self.costs.wal_bytes / _MB

    @property
    def regions(self) -> int:
        """Return the number of hubs of which none exceeds one relay, Redis node or primary."""
        return ceil(max(fullness for _, fullness in self.limits()))

    def limits(self) -> Iterator[tuple[str, float]]:
        """Yield the parts of which a region has only one, and how many of each the fleet needs."""
        yield "the relay", self.relay_cores / BUSY
        yield "the Redis node that `listings` is on", self.redis_cores / BUSY
        yield "the primary's cores", self.primary_cores / PRIMARY_CORES
        yield "the primary's WAL", self.log_mb / PRIMARY_LOG_MB

    @property
    def hubs(self) -> int:
        """Return the number of `realtime` processes.

        Each receives every event of its region; the rest of its core is for its sockets.
        """
        receiving = self.events / self.regions * self.costs.hub_event_us * _S
        sending = self.frames / self.regions * self.costs.hub_frame_us * _S
        return self.regions * ceil(sending / (BUSY - receiving))

    @property
    def hub_cores(self) -> float:
        receiving = self.hubs * self.events / self.regions * self.costs.hub_event_us
        return _S * (receiving + self.frames * self.costs.hub_frame_us)

    @property
    def cores(self) -> float:
        return (
            self.broker_cores + self.ingester_cores + self.primary_cores + self.replica_cores
            + self.api_cores + self.relay_cores + self.redis_cores + self.hub_cores
        )  # fmt: skip

    @property
    def disk_bytes_a_day(self) -> float:
        return self.readings * DAY_S * self.costs.telemetry_bytes

    @property
    def retained_bytes(self) -> float:
        return self.disk_bytes_a_day * (RAW_DAYS + (RETAINED_DAYS - RAW_DAYS) / COMPRESSED)


def carried_by(cores: float, costs: Costs) -> int:
    """Return the devices that one machine with `cores` can serve at a load of BUSY."""
    return int(cores * BUSY / Needs(1_000_000, costs).cores * 1_000_000)
