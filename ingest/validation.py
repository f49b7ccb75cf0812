"""Sort a batch out before anything is stored: what is fresh, what is refused, how devices are.

Pure but for the device states that it is given, which it brings up to date.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec import structs

from core.enums import DeviceStatus
from core.ids import DeviceId
from core.readings import (
    Reading,
    RejectedReading,
    RejectionReason,
    accepted_times,
    rejection_by_time,
)
from db.device_states import DeviceState
from db.readings import Rejection
from ingest.messages import IngestMessage


@dataclass(slots=True)
class ValidatedBatch:
    """What a batch holds. `fresh`: by device, each measurement time once: the first one wins."""

    fresh: dict[DeviceId, dict[datetime, Reading]] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    received: int = 0


def validate(
    batch: Sequence[IngestMessage], states: Mapping[DeviceId, DeviceState], late_horizon: timedelta
) -> ValidatedBatch:
    intake = ValidatedBatch()
    for message in batch:
        state = states.get(message.device_id) if message.device_id else None
        if state is None:
            _refuse_stranger(intake, message)
        else:
            _take(intake, message, state, late_horizon)
    return intake


def _refuse_stranger(intake: ValidatedBatch, message: IngestMessage) -> None:
    intake.received += message.weight
    refused = RejectedReading(RejectionReason.UNKNOWN_DEVICE)
    intake.rejections.append(_rejection(message, None, refused, readings=message.weight))


def _take(
    intake: ValidatedBatch, message: IngestMessage, state: DeviceState, late_horizon: timedelta
) -> None:
    decoded, received_at = message.decoded, message.received_at
    _note_presence(state, message)
    refusals = list(decoded.refused)
    fresh = intake.fresh.setdefault(state.device_id, {})
    span = accepted_times(received_at, late_horizon)
    for reading in decoded.readings:
        at = reading.time or received_at
        reason = rejection_by_time(at, span)
        if reason is not None:
            refusals.append(RejectedReading(reason, time=at))
            continue
        state.received += 1
        if at in fresh:
            state.duplicate += 1
        else:
            fresh[at] = reading if reading.time else structs.replace(reading, time=at)
    _refuse(intake, message, state, refusals)
    intake.received += len(decoded.readings) + len(decoded.refused)


def _note_presence(state: DeviceState, message: IngestMessage) -> None:
    """A fault is lifted by what the device says of itself, not by its going on measuring."""
    said = message.decoded.status
    if not message.tells_presence or (said is not None and _outdated(state, message)):
        return
    if said is not None:
        state.status, state.fault_code = said.status, said.fault_code
    elif message.decoded.readings and state.status in (DeviceStatus.PENDING, DeviceStatus.OFFLINE):
        state.status = DeviceStatus.ONLINE
    if said is None or said.status is not DeviceStatus.OFFLINE:
        state.last_seen_at = message.received_at


def _outdated(state: DeviceState, message: IngestMessage) -> bool:
    """Whether another ingester has heard the device since: of a last will and the word that it is
    back, which a broker shares out in this order, either may be committed first."""
    return state.last_seen_at is not None and message.received_at < state.last_seen_at


def _refuse(
    intake: ValidatedBatch,
    message: IngestMessage,
    state: DeviceState,
    refusals: Sequence[RejectedReading],
) -> None:
    """Record what was refused of a message; its payload once, not with each of its readings."""
    state.received += len(refusals)
    state.rejected += len(refusals)
    for refused in refusals:
        intake.rejections.append(_rejection(message, state.device_id, refused))
        message = replace(message, payload=b"")


def _rejection(
    message: IngestMessage,
    device_id: DeviceId | None,
    refused: RejectedReading,
    *,
    readings: int = 1,
) -> Rejection:
    return Rejection(
        device_id=device_id,
        # A NUL is no character to PostgreSQL; MQTT forbids it in topics, brokers need not.
        topic=message.topic.replace("\0", "\ufffd"),
        payload=message.payload,
        refused=refused,
        received_at=message.received_at,
        readings=readings,
    )
