"""How each firmware is found over MQTT: the ids it may have, and the topics that are its own.

A device signs in as itself (its id), whatever it speaks. Where a firmware's topics hold its serial
or name (`external_id`), the device may publish under that name and no other; so a name must never
reach into the topics of another device, dialect or of the hub.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.ids import DeviceId


class Dialect(StrEnum):
    """What a device speaks: the hub's own format, or that of a firmware that people have."""

    NATIVE = "native"
    OPENDTU = "opendtu"
    SHELLY1 = "shelly1"
    SHELLY2 = "shelly2"
    TASMOTA = "tasmota"
    SENML = "senml"
    AHOY = "ahoy"
    VICTRON = "victron"
    GROTT = "grott"


@dataclass(frozen=True, slots=True)
class Topics:
    """A device's topics. `publish` and `read` are all that it may use: MQTT topic filters.

    `telemetry` and `status` are where readings and presence come from, `command` where the device
    takes orders: filters where a firmware spreads them over several topics.
    """

    telemetry: str
    status: str
    ack: str
    command: str
    publish: tuple[str, ...]
    read: tuple[str, ...]


def topics_of(device_id: DeviceId | str, dialect: Dialect, external_id: str | None) -> Topics:
    """The topics of a device whose `external_id` has no `external_id_fault`."""
    own = f"solar/{device_id}"
    if dialect is Dialect.NATIVE:
        telemetry, status, command = f"{own}/telemetry", f"{own}/status", f"{own}/command"
        publish: tuple[str, ...] = (telemetry, status)
        reads: tuple[str, ...] = (command,)
    else:
        assert external_id is not None
        named = _NAMED[dialect]
        telemetry, status = named.telemetry.format(external_id), named.status.format(external_id)
        publish = tuple(topic.format(external_id) for topic in named.publish)
        reads = tuple(topic.format(external_id) for topic in named.commands) or (f"{own}/command",)
        command = reads[0]
    ack = f"{own}/ack"
    return Topics(telemetry, status, ack, command, publish, read=(ack, *reads))


def external_id_fault(dialect: Dialect, external_id: str | None) -> str | None:
    """Why a device can't be registered under that name, as a sentence's end; None: it can."""
    if dialect is Dialect.NATIVE:
        return None
    name = _NAMED[dialect].name
    if external_id is None:
        return f"is required for {dialect}: {name.form}"
    if not re.fullmatch(name.pattern, external_id):
        return f"must be {name.form}"
    if name.taken(external_id):
        return "is a topic of its own in that firmware, or of another"
    return None


@dataclass(frozen=True, slots=True)
class _Name:
    """What `external_id` is for a firmware; `taken` are names that its topics use otherwise."""

    form: str
    pattern: str
    taken: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class _Named:
    """The topics of a firmware, with `{}` for the device's name; none is another firmware's."""

    name: _Name
    telemetry: str
    status: str
    publish: tuple[str, ...]
    commands: tuple[str, ...] = ()


def _among(*names: str) -> Callable[[str], bool]:
    return lambda name: name.lower() in names


_PLAIN = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
_PLAIN_FORM = "1 to 64 of the letters A to Z, digits and _ . : -, the first a letter or digit"

# A Gen 2 Shelly's name is the first level of its topics; these are first levels already.
_FIRST_LEVELS = _among(
    "solar", "shellies", "tele", "stat", "cmnd", "senml", "inverter", "energy", "n", "r", "w",
    "homeassistant", "tasmota",
)  # fmt: skip

_NAMED = {
    Dialect.OPENDTU: _Named(
        # A serial is 12 hexadecimal digits: no device id, and not `ac`, `dc` or `dtu`.
        _Name("the inverter's serial, 12 digits or letters a to f", r"[0-9a-f]{12}"),
        telemetry="solar/{}/0/#",
        status="solar/{}/status/#",
        publish=("solar/{}/#",),
        commands=("solar/{}/cmd/#",),
    ),
    Dialect.SHELLY1: _Named(
        _Name(f"the id in its MQTT topics, {_PLAIN_FORM}", _PLAIN, _among("announce", "command")),
        telemetry="shellies/{}/#",
        status="shellies/{}/online",
        publish=("shellies/{}/#",),
        commands=("shellies/{}/command", "shellies/{}/relay/+/command"),
    ),
    Dialect.SHELLY2: _Named(
        _Name(f"its MQTT prefix, {_PLAIN_FORM}", _PLAIN, _FIRST_LEVELS),
        telemetry="{}/#",
        status="{}/online",
        publish=("{}/#",),
        commands=("{}/rpc", "{}/command", "{}/command/+"),
    ),
    Dialect.TASMOTA: _Named(
        _Name(f"its MQTT topic, {_PLAIN_FORM}", _PLAIN, _among("tasmotas")),
        telemetry="tele/{}/SENSOR",
        status="tele/{}/LWT",
        publish=("tele/{}/#", "stat/{}/#"),
        commands=("cmnd/{}/#",),
    ),
    Dialect.SENML: _Named(
        _Name(f"the last level of its topic, {_PLAIN_FORM}", _PLAIN),
        telemetry="senml/{}",
        status="senml/{}",
        publish=("senml/{}",),
    ),
    Dialect.AHOY: _Named(
        _Name(f"the inverter's name, {_PLAIN_FORM}", _PLAIN, _among("total", "ctrl", "setup")),
        telemetry="inverter/{}/#",
        status="inverter/{}/available",
        publish=("inverter/{}/#",),
    ),
    Dialect.VICTRON: _Named(
        _Name("the VRM portal id, 6 to 32 letters and digits", r"[0-9A-Za-z]{6,32}"),
        telemetry="N/{}/#",
        status="N/{}/#",
        publish=("N/{}/#",),
        commands=("R/{}/#",),
    ),
    Dialect.GROTT: _Named(
        # At dawn an inverter that is not awake yet calls itself XXXXXXXXXX.
        _Name(
            "the inverter's serial, 10 to 16 capital letters and digits",
            r"[A-Z0-9]{10,16}",
            lambda name: set(name) == {"X"},
        ),
        telemetry="energy/growatt/{}",
        status="energy/growatt/{}",
        # Never plain `energy/growatt`: there, only the payload would say whose reading it is.
        publish=("energy/growatt/{}",),
    ),
}
