"""Which firmware a topic is of, whose message it is, and how it is to be read."""

from dataclasses import dataclass
from datetime import timedelta

from core.assembly import ReportingPattern
from core.dialects import Dialect, external_id_fault
from ingest.dialects import (
    Decode,
    ahoy,
    grott,
    opendtu,
    senml,
    shelly1,
    shelly2,
    tasmota,
    victron,
)

# What the hub listens to for them. Of a Victron's hundreds of topics only those that are of use
# are asked for; of the others all, so that what is of no use is seen and counted.
FILTERS = (
    "solar/+/+/+",
    "shellies/+/#",
    "+/status/+",
    "+/events/rpc",
    "+/online",
    "tele/+/+",
    "stat/+/STATUS8",
    "stat/+/STATUS10",
    "senml/+",
    "inverter/+/#",
    "N/+/system/0/Ac/+/+/Power",
    "N/+/system/0/Dc/Pv/Power",
    "N/+/system/0/Dc/Battery/Soc",
    "N/+/pvinverter/+/Ac/Power",
    "N/+/pvinverter/+/Ac/+/Energy/Forward",
    "N/+/solarcharger/+/Yield/System",
    "N/+/grid/+/Ac/+/Energy/+",
    "energy/growatt",
    "energy/growatt/+",
)


@dataclass(frozen=True, slots=True)
class Firmware:
    """`rhythm` says how parts of its measurements are laid together; only topics whose first level
    behind the name is among `heeds` can be of use (None: all)."""

    decode: Decode
    rhythm: ReportingPattern
    heeds: frozenset[str] | None = None


_BURST = ReportingPattern(timedelta(seconds=2))

FIRMWARES = {
    # All of a measurement's topics are sent within a publishing interval of 5 s and more.
    Dialect.OPENDTU: Firmware(
        opendtu.decode, ReportingPattern(timedelta(seconds=4)), frozenset({"0", "status"})
    ),
    Dialect.SHELLY1: Firmware(
        shelly1.decode,
        ReportingPattern(_BURST.window, power_w=shelly1.power_w),
        frozenset({"emeter", "relay", "online"}),
    ),
    Dialect.SHELLY2: Firmware(shelly2.decode, _BURST, frozenset({"status", "events", "online"})),
    Dialect.TASMOTA: Firmware(
        tasmota.decode, _BURST, frozenset({"SENSOR", "ENERGY", "STATUS8", "STATUS10", "LWT"})
    ),
    Dialect.SENML: Firmware(senml.decode, _BURST),
    Dialect.AHOY: Firmware(
        ahoy.decode,
        ReportingPattern(timedelta(seconds=4)),
        frozenset({"ch0", "available", "last_success"}),
    ),
    # It never pauses: what changed in a while is one measurement.
    Dialect.VICTRON: Firmware(
        victron.decode,
        ReportingPattern(timedelta(seconds=5), last_wins=True, power_w=victron.power_w),
    ),
    Dialect.GROTT: Firmware(grott.decode, _BURST),
}


@dataclass(frozen=True, slots=True)
class Addressed:
    """A firmware's message: whose it is, and the levels of its topic behind the name.

    `levels` is None where nothing more is said: what the device has told is to be closed.
    """

    dialect: Dialect
    external_id: str
    levels: tuple[str, ...] | None
    payload: bytes

    @property
    def name(self) -> tuple[Dialect, str]:
        return self.dialect, self.external_id


def addressed(topic: str, payload: bytes) -> Addressed | None:
    """None: no firmware's topic, one that is of no use, or a name that no device can have."""
    first, *rest = topic.split("/")
    if first == "energy":
        return _growatt(rest, payload)
    dialect = _FIRST_LEVELS.get(first)
    if dialect is None:
        return _named(Dialect.SHELLY2, first, rest, payload)
    return _named(dialect, rest[0], rest[1:], payload) if rest else None


_FIRST_LEVELS = {
    "solar": Dialect.OPENDTU,
    "shellies": Dialect.SHELLY1,
    "tele": Dialect.TASMOTA,
    "stat": Dialect.TASMOTA,
    "senml": Dialect.SENML,
    "inverter": Dialect.AHOY,
    "N": Dialect.VICTRON,
}


def _growatt(levels: list[str], payload: bytes) -> Addressed | None:
    """On plain `energy/growatt` the record says whose it is: no device may publish there, only
    whom the operator trusts to speak for all of them."""
    match levels:
        case ["growatt"]:
            return _named(Dialect.GROTT, grott.device_of(payload), [], payload)
        case ["growatt", serial]:
            return _named(Dialect.GROTT, serial, [], payload)
        case _:
            return None


def _named(
    dialect: Dialect, name: str | None, levels: list[str], payload: bytes
) -> Addressed | None:
    heeds = FIRMWARES[dialect].heeds
    if heeds is not None and (not levels or levels[0] not in heeds):
        return None
    if name is None or external_id_fault(dialect, name) is not None:
        return None
    return Addressed(dialect, name, tuple(levels), payload)
