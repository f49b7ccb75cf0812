"""The encoder of each dialect, and random device names in the form that each firmware uses."""

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

ENCODERS: dict[Dialect, FirmwareEncoder] = {
    Dialect.NATIVE: native.ENCODER,
    Dialect.OPENDTU: opendtu.ENCODER,
    Dialect.SHELLY1: shelly1.ENCODER,
    Dialect.SHELLY2: shelly2.ENCODER,
    Dialect.TASMOTA: tasmota.ENCODER,
    Dialect.SENML: senml.ENCODER,
    Dialect.AHOY: ahoy.ENCODER,
    Dialect.VICTRON: victron.ENCODER,
    Dialect.GROTT: grott.ENCODER,
}


def random_name(dialect: Dialect, rng: Random) -> str | None:
    """Return a random serial number, id or topic name; None for devices of the native dialect."""
    serial = f"{rng.getrandbits(48):012x}"
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
