"""MQTT topics of each firmware, and the external ids that a device of it may have.

A device signs in with its own id, whatever its firmware. Where the topics of a firmware contain a
serial or name (`external_id`), the device may publish under that name only. So no external id may
yield topics of another device, of another dialect or of the hub.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.ids import DeviceId


class Dialect(StrEnum):
    """The message format of a device: the hub's own, or that of a common firmware."""

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
    """The topics of a device, as MQTT topics or topic filters."""

    # Topics of readings and of presence; filters where a firmware uses several.
    telemetry: str
    status: str
    # Topic of the hub's rejection notices.
    ack: str
    # Topic on which the device receives commands.
    command: str
    # The access rights of the device at the broker: it may use no other topics.
    publish: tuple[str, ...]
    read: tuple[str, ...]


def topics_of(device_id: DeviceId | str, dialect: Dialect, external_id: str | None) -> Topics:
    """Return a device's topics. `external_id` must have no `external_id_fault`."""
    own = f"solar/{device_id}"
    if dialect is Dialect.NATIVE:
        telemetry, status, command = f"{own}/telemetry", f"{own}/status", f"{own}/command"
        publish: tuple[str, ...] = (telemetry, status)
        reads: tuple[str, ...] = (command,)
    else:
        assert external_id is not None
        firmware = _FIRMWARES[dialect]
        telemetry = firmware.telemetry.format(external_id)
        status = firmware.status.format(external_id)
        publish = tuple(topic.format(external_id) for topic in firmware.publish)
        commands = tuple(topic.format(external_id) for topic in firmware.commands)
        reads = commands or (f"{own}/command",)
        command = reads[0]
    ack = f"{own}/ack"
    return Topics(telemetry, status, ack, command, publish, read=(ack, *reads))


def external_id_fault(dialect: Dialect, external_id: str | None) -> str | None:
    """Return why an external id is not allowed, as the end of a sentence, or None if it is."""
    if dialect is Dialect.NATIVE:
        return None
    name = _FIRMWARES[dialect].name
    if external_id is None:
        return f"is required for {dialect}: {name.form}"
    if not re.fullmatch(name.pattern, external_id):
        return f"must be {name.form}"
    if name.reserved(external_id):
        return "is a topic of its own in that firmware, or of another"
    return None


@dataclass(frozen=True, slots=True)
class _IdForm:
    """The form of `external_id` for a firmware."""

    form: str
    pattern: str
    # Names that the topics of this or another firmware use for something else.
    reserved: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class _FirmwareTopics:
    """The topics of a firmware, with `{}` for the external id; disjoint from other firmwares'."""

    name: _IdForm
    telemetry: str
    status: str
    publish: tuple[str, ...]
    commands: tuple[str, ...] = ()


def _among(*names: str) -> Callable[[str], bool]:
    return lambda name: name.lower() in names


_PLAIN = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
_PLAIN_FORM = "1 to 64 of the letters A to Z, digits and _ . : -, the first a letter or digit"

# The name of a Gen 2 Shelly is the first level of its topics. Others use these first levels.
_FIRST_LEVELS = _among(
    "solar", "shellies", "tele", "stat", "cmnd", "senml", "inverter", "energy", "n", "r", "w",
    "homeassistant", "tasmota",
)  # fmt: skip

_FIRMWARES = {
    Dialect.OPENDTU: _FirmwareTopics(
        # A serial is 12 hexadecimal digits: no device id, and not `ac`, `dc` or `dtu`.
        _IdForm("the inverter's serial, 12 digits or letters a to f", r"[0-9a-f]{12}"),
        telemetry="solar/{}/0/#",
        status="solar/{}/status/#",
        publish=("solar/{}/#",),
        commands=("solar/{}/cmd/#",),
    ),
    Dialect.SHELLY1: _FirmwareTopics(
        _IdForm(f"the id in its MQTT topics, {_PLAIN_FORM}", _PLAIN, _among("announce", "command")),
        telemetry="shellies/{}/#",
        status="shellies/{}/online",
        publish=("shellies/{}/#",),
        commands=("shellies/{}/command", "shellies/{}/relay/+/command"),
    ),
    Dialect.SHELLY2: _FirmwareTopics(
        _IdForm(f"its MQTT prefix, {_PLAIN_FORM}", _PLAIN, _FIRST_LEVELS),
        telemetry="{}/#",
        status="{}/online",
        publish=("{}/#",),
        commands=("{}/rpc", "{}/command", "{}/command/+"),
    ),
    Dialect.TASMOTA: _FirmwareTopics(
        _IdForm(f"its MQTT topic, {_PLAIN_FORM}", _PLAIN, _among("tasmotas")),
        telemetry="tele/{}/SENSOR",
        status="tele/{}/LWT",
        publish=("tele/{}/#", "stat/{}/#"),
        commands=("cmnd/{}/#",),
    ),
    Dialect.SENML: _FirmwareTopics(
        _IdForm(f"the last level of its topic, {_PLAIN_FORM}", _PLAIN),
        telemetry="senml/{}",
        status="senml/{}",
        publish=("senml/{}",),
    ),
    Dialect.AHOY: _FirmwareTopics(
        _IdForm(f"the inverter's name, {_PLAIN_FORM}", _PLAIN, _among("total", "ctrl", "setup")),
        telemetry="inverter/{}/#",
        status="inverter/{}/available",
        publish=("inverter/{}/#",),
    ),
    Dialect.VICTRON: _FirmwareTopics(
        _IdForm("the VRM portal id, 6 to 32 letters and digits", r"[0-9A-Za-z]{6,32}"),
        telemetry="N/{}/#",
        status="N/{}/#",
        publish=("N/{}/#",),
        commands=("R/{}/#",),
    ),
    Dialect.GROTT: _FirmwareTopics(
        # An inverter that is starting up reports the serial XXXXXXXXXX.
        _IdForm(
            "the inverter's serial, 10 to 16 capital letters and digits",
            r"[A-Z0-9]{10,16}",
            lambda name: set(name) == {"X"},
        ),
        telemetry="energy/growatt/{}",
        status="energy/growatt/{}",
        # Never plain `energy/growatt`: only the payload would identify the device there.
        publish=("energy/growatt/{}",),
    ),
}
