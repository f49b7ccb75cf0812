"""Messages of firmwares: decode them, lay parts together, and hand readings on like native ones.

What a device has told in parts is kept in the database, and changes in the transaction that stores
what comes of it, under the lock of the device's state. So it makes no difference whether one
ingester hears a measurement, or several share it, or one is killed half way through.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import structlog
from msgspec import structs

from core.assembly import AssemblyState, Measurement, close_if_due, merge
from core.dialects import Dialect
from core.ids import DeviceId
from core.readings import FIELDS, Reading, RejectedReading, RejectionReason
from db import partials
from db.device_names import NamedDevice
from db.device_states import DeviceState
from db.pool import Connection
from ingest.dialects import NOTHING, ONLINE, Decoded, DecodeResult, DeviceContext, refuse
from ingest.dialects.firmwares import FIRMWARES, Addressed, Firmware
from ingest.messages import (
    FIRMWARE_PAYLOAD_MAX_BYTES,
    PAYLOAD_KEPT_BYTES,
    IngestMessage,
    refused_whole,
)
from ingest.repeated_hour import Unsure, put_into_passes

_KIND_OF_METERS = "meter"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """Messages whose device and readings are known, and how many were of no use.

    `taken_back`: by device, stored readings that are among the messages with other times now, by
    the times that they had.
    """

    messages: Sequence[IngestMessage]
    ignored: int = 0
    taken_back: Mapping[DeviceId, Mapping[datetime, Reading]] = field(default_factory=dict)


@dataclass(slots=True)
class _Ear:
    """What is said of devices whose states are locked, and what is to be kept of it."""

    partials: dict[DeviceId, AssemblyState]
    messages: list[IngestMessage] = field(default_factory=list)
    closes_at: dict[DeviceId, datetime] = field(default_factory=dict)
    changed: set[DeviceId] = field(default_factory=set)
    unsure: dict[DeviceId, dict[int, Unsure]] = field(default_factory=dict)
    ignored: int = 0


async def decode_batch(
    conn: Connection,
    batch: Sequence[IngestMessage],
    named: Mapping[tuple[Dialect, str], NamedDevice],
    states: Mapping[DeviceId, DeviceState],
) -> DecodedBatch:
    """Decode what is addressed to a firmware's name. `named`: the devices of these names."""
    known = {name: device for name, device in named.items() if device.id in states}
    ear = _Ear(await partials.of(conn, [device.id for device in known.values()]))
    for message in batch:
        if message.addressed is None:
            ear.messages.append(message)
            continue
        device = known.get(message.addressed.name)
        if device is None:
            ear.ignored += 1
            continue
        before = len(ear.messages)
        _hear(ear, message, message.addressed, device)
        if message.refusal is not None:
            _refuse(ear, before, message.refusal)
    if ear.changed:
        changed = {device_id: ear.partials[device_id] for device_id in sorted(ear.changed)}
        await partials.save(conn, changed, ear.closes_at)
    if not ear.unsure:
        return DecodedBatch(ear.messages, ear.ignored)
    return await _into_passes(conn, ear, states)


async def _into_passes(
    conn: Connection, ear: _Ear, states: Mapping[DeviceId, DeviceState]
) -> DecodedBatch:
    """Give readings of an hour that came twice the time that they are of."""
    again: list[IngestMessage] = []
    taken_back: dict[DeviceId, Mapping[datetime, Reading]] = {}
    for device_id, unsure in ear.unsure.items():
        state = states[device_id]
        passes = await put_into_passes(conn, state, list(unsure.values()))
        for number, at in zip(unsure, passes.at, strict=True):
            message = ear.messages[number]
            readings = tuple(structs.replace(r, time=at) for r in message.decoded.readings)
            decoded = replace(message.decoded, readings=readings)
            ear.messages[number] = replace(message, decoded=decoded)
        if passes.taken_back:
            # They are counted again as they arrive again.
            state.received -= len(passes.taken_back)
            state.stored -= len(passes.taken_back)
            taken_back[device_id] = {
                was: structs.replace(reading, time=was)
                for was, reading in passes.taken_back.items()
            }
            again += [_again(reading, device_id) for reading in passes.taken_back.values()]
    # Before those that may turn out to be the same.
    return DecodedBatch([*again, *ear.messages], ear.ignored, taken_back)


def _hear(ear: _Ear, message: IngestMessage, to: Addressed, device: NamedDevice) -> None:
    firmware = FIRMWARES[to.dialect]
    heard = NOTHING if to.levels is None else _decoded(firmware, message, to, device)
    if heard is NOTHING and to.levels is not None:
        ear.ignored += 1
        return
    decoded = heard.decoded
    if heard.part is not None and heard.part.values:
        decoded = ONLINE.decoded
    if to.levels is None or heard.part is not None:
        partial = ear.partials.setdefault(device.id, AssemblyState())
        measured = _lay(partial, firmware, heard, message)
        if measured is not None:
            ear.messages.append(_told(measured, device.id))
        _keep(ear, device.id, partial, firmware)
    if to.levels is not None:
        if heard.earlier_at is not None and message.refusal is None:
            [reading] = decoded.readings
            ear.unsure.setdefault(device.id, {})[len(ear.messages)] = Unsure(
                reading, message.received_at, heard.earlier_at, _zone(device.time_zone)
            )
        ear.messages.append(replace(message, device_id=device.id, decoded=decoded, addressed=None))


def _refuse(ear: _Ear, begin: int, refusal: RejectedReading) -> None:
    """Take nothing of what was heard from there on: what was measured, or else what was said."""
    heard = ear.messages[begin:]
    measured = [m for m in heard if m.decoded.readings or m.decoded.refused] or heard[-1:]
    ear.messages[begin:] = [replace(m, decoded=refused_whole(m.decoded, refusal)) for m in measured]


def _decoded(
    firmware: Firmware, message: IngestMessage, to: Addressed, device: NamedDevice
) -> DecodeResult:
    assert to.levels is not None
    if len(to.payload) > FIRMWARE_PAYLOAD_MAX_BYTES:
        return refuse(
            RejectionReason.TOO_LARGE, f"at most {FIRMWARE_PAYLOAD_MAX_BYTES} bytes are allowed"
        )
    speaker = DeviceContext(to.external_id, device.kind == _KIND_OF_METERS, _zone(device.time_zone))
    try:
        return firmware.decode(to.levels, to.payload, speaker, message.received_at)
    except Exception:  # noqa: BLE001 - whatever it stumbles over must not stop what is behind.
        _log.exception("decoder_failed", dialect=to.dialect, topic=message.topic)
        return refuse(RejectionReason.MALFORMED, "can't be decoded")


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _lay(
    partial: AssemblyState, firmware: Firmware, heard: DecodeResult, message: IngestMessage
) -> Measurement | None:
    if heard.part is None:
        return close_if_due(partial, firmware.rhythm, message.received_at)
    return merge(
        partial,
        heard.part,
        firmware.rhythm,
        topic=message.topic,
        received_at=message.received_at,
    )


def _told(measured: Measurement, device_id: DeviceId) -> IngestMessage:
    """A measurement that is complete, as the message that it would have been when it began.

    That its parts came told that the device is there; since then it may have said that it goes.
    """
    return _message_of(
        measured.reading, device_id, topic=measured.topic, received_at=measured.opened_at
    )


def _again(reading: Reading, device_id: DeviceId) -> IngestMessage:
    """A reading that was taken once, whatever its age is by now."""
    assert reading.time is not None
    return _message_of(reading, device_id, topic="", received_at=reading.time)


def _message_of(
    reading: Reading, device_id: DeviceId, *, topic: str, received_at: datetime
) -> IngestMessage:
    said = {
        name: value
        for name in FIELDS
        if name != "time" and (value := getattr(reading, name)) is not None
    }
    return IngestMessage(
        device_id=device_id,
        topic=topic,
        payload=json.dumps(said).encode()[:PAYLOAD_KEPT_BYTES],
        received_at=received_at,
        decoded=Decoded(readings=(reading,)),
        acknowledge=lambda: None,
        tells_presence=False,
    )


def _keep(ear: _Ear, device_id: DeviceId, partial: AssemblyState, firmware: Firmware) -> None:
    ear.changed.add(device_id)
    ear.closes_at.pop(device_id, None)
    if partial.open is not None:
        ear.closes_at[device_id] = partial.open.opened_at + firmware.rhythm.window


def nothing_more(name: tuple[Dialect, str], now: datetime) -> IngestMessage:
    """Says that a device's open measurement may be closed, if its time is over."""
    return IngestMessage(
        device_id=None,
        topic="",
        payload=b"",
        received_at=now.astimezone(UTC),
        decoded=Decoded(),
        acknowledge=lambda: None,
        addressed=Addressed(*name, levels=None, payload=b""),
    )
