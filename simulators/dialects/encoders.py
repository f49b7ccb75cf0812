"""Which device speaks what, and how it is called."""

from random import Random

from core.dialects import Dialect
from simulators.dialects import (
    ahoy,
    grott,
    native,
    opendtu,
    senml,
    shelly1,
    shelly2,
    tasmota,
    victron,
)
from simulators.dialects.encoder import FirmwareEncoder

VOICES: dict[Dialect, FirmwareEncoder] = {
    Dialect.NATIVE: native.VOICE,
    Dialect.OPENDTU: opendtu.VOICE,
    Dialect.SHELLY1: shelly1.VOICE,
    Dialect.SHELLY2: shelly2.VOICE,
    Dialect.TASMOTA: tasmota.VOICE,
    Dialect.SENML: senml.VOICE,
    Dialect.AHOY: ahoy.VOICE,
    Dialect.VICTRON: victron.VOICE,
    Dialect.GROTT: grott.VOICE,
}


def invent_name(dialect: Dialect, chance: Random) -> str | None:
    """A serial, id or topic name that nobody has yet, as that firmware has them."""
    serial = f"{chance.getrandbits(48):012x}"
    return {
        Dialect.NATIVE: None,
        Dialect.OPENDTU: serial,
        Dialect.SHELLY1: f"shellyem-{serial.upper()}",
        Dialect.SHELLY2: f"shellyplus1pm-{serial}",
        Dialect.TASMOTA: f"tasmota_{serial.upper()}",
        Dialect.SENML: f"roof-{serial}",
        Dialect.AHOY: f"HM-{serial}",
        Dialect.VICTRON: serial,
        Dialect.GROTT: f"GW{serial.upper()}",
    }[dialect]
