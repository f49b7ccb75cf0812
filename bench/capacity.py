"""What a hub needs for so many devices, calculated from what things cost. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

# What is assumed of a fleet and its people, at its busiest: a clear noon.
REPORT_EVERY_S = 10
FOLLOWED = 0.5  # of the devices have an offer that follows them, so that each report changes it
SOCKETS = 0.1  # open for each device, each watching 5 km around somebody
OFFERS_IN_SIGHT = 65
PAGE_EVERY_S = 30  # for each open socket
PURCHASES_A_DAY, PEAK = 1, 4  # for each device; the busiest hour, to the mean

# Of processes that use one core, and of servers: what they are given at most.
BUSY = 0.6
PRIMARY_CORES, PRIMARY_LOG_MB = 8, 200
# Telemetry on TimescaleDB: raw as long as readings may be late, then compressed, then dropped.
RAW_DAYS, KEPT_DAYS, COMPRESSED = 8, 90, 15

DAY_S = 86_400
_S, _MB = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time in microseconds, sizes in bytes or KiB; of one reading, event, page and so on."""

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
    """Of so many devices. Cores are those that are at work, without any to spare."""

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
        return self.sockets * OFFERS_IN_SIGHT / REPORT_EVERY_S

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
        """Hubs of their own, so that none needs more than one relay, Redis node or primary has."""
        return ceil(max(fullness for _, fullness in self.limits()))

    def limits(self) -> Iterator[tuple[str, float]]:
        """What there is one of in a region, and how many of it this needs."""
        yield "the relay", self.relay_cores / BUSY
        yield "the Redis node that `listings` is on", self.redis_cores / BUSY
        yield "the primary's cores", self.primary_cores / PRIMARY_CORES
        yield "the primary's log", self.log_mb / PRIMARY_LOG_MB

    @property
    def hubs(self) -> int:
        """Each hears every event of its region, and has what is left for its sockets."""
        hearing = self.events / self.regions * self.costs.hub_event_us * _S
        telling = self.frames / self.regions * self.costs.hub_frame_us * _S
        return self.regions * ceil(telling / (BUSY - hearing))

    @property
    def hub_cores(self) -> float:
        hearing = self.hubs * self.events / self.regions * self.costs.hub_event_us
        return _S * (hearing + self.frames * self.costs.hub_frame_us)

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
    def kept_bytes(self) -> float:
        return self.disk_bytes_a_day * (RAW_DAYS + (KEPT_DAYS - RAW_DAYS) / COMPRESSED)


def carried_by(cores: float, costs: Costs) -> int:
    """Devices that so many cores carry on one machine, kept from being busier than processes."""
    return int(cores * BUSY / Needs(1_000_000, costs).cores * 1_000_000)
