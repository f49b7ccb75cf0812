"""Decoding of firmwares' messages into messages with readings, as native ones are.

Many firmwares publish a measurement in parts, over several messages. The open measurement of a
device is stored in the database and changes under the lock of the device's state, in the
transaction that stores its readings. So the parts may reach several ingesters, and a process may
be killed between two of them.
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
from core.enums import DeviceKind
from core.ids import DeviceId
from core.readings import FIELDS, Reading, RejectedReading, RejectionReason
from db import partials
from db.device_states import DeviceState
from db.devices import AddressedDevice
from db.pool import Connection
from ingest.dialects import NOTHING, ONLINE, Decoded, DecodeResult, DeviceContext, reject
from ingest.dialects.firmwares import FIRMWARES, AddressedMessage, Firmware
from ingest.messages import (
    FIRMWARE_PAYLOAD_MAX_BYTES,
    PAYLOAD_RECORDED_BYTES,
    IngestMessage,
    reject_all,
)
from ingest.repeated_hour import AmbiguousReading, assign_passes

_ZONES_CACHED = 64

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The messages of a batch with their devices and readings; `ignored` counts useless messages.

    `retimed` are stored readings that were deleted because they are of another time, by device and
    by the times that they had. They are among the messages, with their new times.
    """

    messages: Sequence[IngestMessage]
    ignored: int = 0
    retimed: Mapping[DeviceId, Mapping[datetime, Reading]] = field(default_factory=dict)


@dataclass(slots=True)
class _Decoding:
    """The state of a batch while it is decoded.

    `assemblies` are the open measurements of locked devices; those of `changed` devices are saved.
    `ambiguous` are readings of an hour that came twice, by device and index in `messages`.
    """

    assemblies: dict[DeviceId, AssemblyState]
    messages: list[IngestMessage] = field(default_factory=list)
    closes_at: dict[DeviceId, datetime] = field(default_factory=dict)
    changed: set[DeviceId] = field(default_factory=set)
    ambiguous: dict[DeviceId, dict[int, AmbiguousReading]] = field(default_factory=dict)
    ignored: int = 0


async def decode_batch(
    conn: Connection,
    batch: Sequence[IngestMessage],
    named: Mapping[tuple[Dialect, str], AddressedDevice],
    states: Mapping[DeviceId, DeviceState],
) -> DecodedBatch:
    """Decode the firmwares' messages of a batch, and leave native ones as they are.

    `named` are the devices of these names; `states` are those of the devices that are locked.
    """
    known = {name: device for name, device in named.items() if device.id in states}
    decoding = _Decoding(await partials.of(conn, [device.id for device in known.values()]))
    for message in batch:
        if message.addressed is None:
            decoding.messages.append(message)
            continue
        device = known.get(message.addressed.name)
        if device is None:
            decoding.ignored += 1
            continue
        begin = len(decoding.messages)
        _decode_message(decoding, message, message.addressed, device)
        if message.rejection is not None:
            _reject_from(decoding, begin, message.rejection)
    if decoding.changed:
        changed = {key: decoding.assemblies[key] for key in sorted(decoding.changed)}
        await partials.save(conn, changed, decoding.closes_at)
    if not decoding.ambiguous:
        return DecodedBatch(decoding.messages, decoding.ignored)
    return await _with_assigned_passes(conn, decoding, states)


def close_request(name: tuple[Dialect, str], now: datetime) -> IngestMessage:
    """Return a message that closes a device's open measurement if no more of it is expected."""
    return IngestMessage(
        device_id=None,
        topic="",
        payload=b"",
        received_at=now.astimezone(UTC),
        decoded=Decoded(),
        acknowledge=lambda: None,
        addressed=AddressedMessage(*name, levels=None, payload=b""),
    )


def _decode_message(
    decoding: _Decoding,
    message: IngestMessage,
    addressed: AddressedMessage,
    device: AddressedDevice,
) -> None:
    """Add a message with its readings, and before it the measurement that it completes."""
    firmware = FIRMWARES[addressed.dialect]
    is_request = addressed.levels is None
    result = NOTHING if is_request else _decode(firmware, message, addressed, device)
    if result is NOTHING and not is_request:
        decoding.ignored += 1
        return
    if is_request or result.partial is not None:
        _merge_part(decoding, firmware, result, message, device.id)
    if is_request:
        return
    if result.earlier_at is not None and message.rejection is None:
        [reading] = result.decoded.readings
        decoding.ambiguous.setdefault(device.id, {})[len(decoding.messages)] = AmbiguousReading(
            reading, message.received_at, result.earlier_at, _zone(device.time_zone)
        )
    # A part of a measurement shows that the device is connected, as a reading does.
    is_part = result.partial is not None and result.partial.values
    decoded = ONLINE.decoded if is_part else result.decoded
    decoding.messages.append(replace(message, device_id=device.id, decoded=decoded, addressed=None))


def _decode(
    firmware: Firmware, message: IngestMessage, addressed: AddressedMessage, device: AddressedDevice
) -> DecodeResult:
    assert addressed.levels is not None
    if len(addressed.payload) > FIRMWARE_PAYLOAD_MAX_BYTES:
        return reject(
            RejectionReason.TOO_LARGE, f"at most {FIRMWARE_PAYLOAD_MAX_BYTES} bytes are allowed"
        )
    context = DeviceContext(
        addressed.external_id, device.kind == DeviceKind.METER, _zone(device.time_zone)
    )
    try:
        return firmware.decode(addressed.levels, addressed.payload, context, message.received_at)
    except Exception:  # noqa: BLE001 - a defect of a decoder must not block the messages behind.
        _log.exception("decoder_failed", dialect=addressed.dialect, topic=message.topic)
        return reject(RejectionReason.MALFORMED, "can't be decoded")


@lru_cache(maxsize=_ZONES_CACHED)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _merge_part(
    decoding: _Decoding,
    firmware: Firmware,
    result: DecodeResult,
    message: IngestMessage,
    device_id: DeviceId,
) -> None:
    """Merge a part into the device's open measurement, or close that if it is due."""
    assembly = decoding.assemblies.setdefault(device_id, AssemblyState())
    if result.partial is None:
        measured = close_if_due(assembly, firmware.pattern, message.received_at)
    else:
        measured = merge(
            assembly,
            result.partial,
            firmware.pattern,
            topic=message.topic,
            received_at=message.received_at,
        )
    if measured is not None:
        decoding.messages.append(_measurement_message(measured, device_id))
    decoding.changed.add(device_id)
    decoding.closes_at.pop(device_id, None)
    if assembly.open is not None:
        decoding.closes_at[device_id] = assembly.open.opened_at + firmware.pattern.window


def _reject_from(decoding: _Decoding, begin: int, rejection: RejectedReading) -> None:
    """Reject the messages from an index on: those with readings, or else the last one."""
    added = decoding.messages[begin:]
    measured = [m for m in added if m.decoded.readings or m.decoded.rejected] or added[-1:]
    decoding.messages[begin:] = [
        replace(m, decoded=reject_all(m.decoded, rejection)) for m in measured
    ]


async def _with_assigned_passes(
    conn: Connection, decoding: _Decoding, states: Mapping[DeviceId, DeviceState]
) -> DecodedBatch:
    """Set the times of readings of an hour that came twice."""
    again: list[IngestMessage] = []
    retimed: dict[DeviceId, Mapping[datetime, Reading]] = {}
    for device_id, ambiguous in decoding.ambiguous.items():
        state = states[device_id]
        passes = await assign_passes(conn, state, list(ambiguous.values()))
        for index, at in zip(ambiguous, passes.times, strict=True):
            decoding.messages[index] = _at(decoding.messages[index], at)
        if passes.retimed:
            # They are counted again when they are stored again.
            state.received -= len(passes.retimed)
            state.stored -= len(passes.retimed)
            retimed[device_id] = {
                was: structs.replace(reading, time=was) for was, reading in passes.retimed.items()
            }
            again += [_retimed_message(reading, device_id) for reading in passes.retimed.values()]
    # They come first: a reading that arrived and turns out to be the same is the duplicate.
    return DecodedBatch([*again, *decoding.messages], decoding.ignored, retimed)


def _at(message: IngestMessage, at: datetime) -> IngestMessage:
    readings = tuple(structs.replace(reading, time=at) for reading in message.decoded.readings)
    return replace(message, decoded=replace(message.decoded, readings=readings))


def _measurement_message(measured: Measurement, device_id: DeviceId) -> IngestMessage:
    """Return a complete measurement as a message of the time when it began.

    It does not show presence: its parts did, and the device may have reported `offline` since.
    """
    return _message_of(
        measured.reading, device_id, topic=measured.topic, received_at=measured.opened_at
    )


def _retimed_message(reading: Reading, device_id: DeviceId) -> IngestMessage:
    """Return a reading that was accepted before, so that it is accepted however old it is."""
    assert reading.time is not None
    return _message_of(reading, device_id, topic="", received_at=reading.time)


def _message_of(
    reading: Reading, device_id: DeviceId, *, topic: str, received_at: datetime
) -> IngestMessage:
    values = {
        name: value
        for name in FIELDS
        if name != "time" and (value := getattr(reading, name)) is not None
    }
    return IngestMessage(
        device_id=device_id,
        topic=topic,
        payload=json.dumps(values).encode()[:PAYLOAD_RECORDED_BYTES],
        received_at=received_at,
        decoded=Decoded(readings=(reading,)),
        acknowledge=lambda: None,
        shows_presence=False,
    )
