"""The registered firmwares: their topics, decoders and reporting patterns."""

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

# The topic filters that the hub subscribes to for firmwares. A Victron publishes hundreds of
# topics, so only the useful ones are subscribed. Of the others all are: the metric of ignored
# messages then shows a device that publishes something else than expected.
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
    """A firmware's decoder, and the pattern by which parts of its measurements are merged.

    Only topics whose first level after the device's name is in `first_levels` can be useful; None
    means that all can.
    """

    decode: Decode
    pattern: ReportingPattern
    first_levels: frozenset[str] | None = None


_BURST = ReportingPattern(timedelta(seconds=2))

FIRMWARES = {
    # OpenDTU and AhoyDTU publish all topics of a measurement within seconds, and pause for 5 s or
    # more before the next measurement.
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
    # A Victron never pauses: the changes of 5 s are one measurement.
    Dialect.VICTRON: Firmware(
        victron.decode,
        ReportingPattern(timedelta(seconds=5), last_wins=True, power_w=victron.power_w),
    ),
    Dialect.GROTT: Firmware(grott.decode, _BURST),
}


@dataclass(frozen=True, slots=True)
class AddressedMessage:
    """A firmware's message with the name of its device.

    `levels` are those of the topic after the name. None stands for no message: it asks to close the
    device's open measurement if that is complete (see `firmware_decoding.close_request`).
    """

    dialect: Dialect
    external_id: str
    levels: tuple[str, ...] | None
    payload: bytes

    @property
    def name(self) -> tuple[Dialect, str]:
        return self.dialect, self.external_id


def resolve_topic(topic: str, payload: bytes) -> AddressedMessage | None:
    """Find the firmware and the device's name in a topic.

    Returns None for a topic of no firmware, for one that holds nothing useful, and for a name that
    no device can have.
    """
    first, *rest = topic.split("/")
    if first == "energy":
        return _growatt_address(rest, payload)
    dialect = _FIRST_LEVELS.get(first)
    if dialect is None:
        return _address(Dialect.SHELLY2, first, rest, payload)
    return _address(dialect, rest[0], rest[1:], payload) if rest else None


# Any other first level is the name of a second-generation Shelly.
_FIRST_LEVELS = {
    "solar": Dialect.OPENDTU,
    "shellies": Dialect.SHELLY1,
    "tele": Dialect.TASMOTA,
    "stat": Dialect.TASMOTA,
    "senml": Dialect.SENML,
    "inverter": Dialect.AHOY,
    "N": Dialect.VICTRON,
}


def _growatt_address(levels: list[str], payload: bytes) -> AddressedMessage | None:
    """Take the serial from the topic, or on plain `energy/growatt` from the record itself.

    No device may publish on the plain topic, only a client that the operator trusts to publish for
    all inverters.
    """
    match levels:
        case ["growatt"]:
            return _address(Dialect.GROTT, grott.device_of(payload), [], payload)
        case ["growatt", serial]:
            return _address(Dialect.GROTT, serial, [], payload)
        case _:
            return None


def _address(
    dialect: Dialect, name: str | None, levels: list[str], payload: bytes
) -> AddressedMessage | None:
    useful = FIRMWARES[dialect].first_levels
    if useful is not None and (not levels or levels[0] not in useful):
        return None
    if name is None or external_id_fault(dialect, name) is not None:
        return None
    return AddressedMessage(dialect, name, tuple(levels), payload)
