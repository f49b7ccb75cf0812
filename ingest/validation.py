"""Validation of a batch before anything is stored: accepted readings, rejections and presence.

Pure, except that it updates the device states that it is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec import structs

from core.enums import DeviceStatus
from core.ids import DeviceId
from core.readings import (
    AcceptedTimes,
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
    """The content of a batch: received = accepted + duplicates within the batch + rejected.

    `accepted` holds one reading per device and time of measurement: the first one that arrived.
    """

    accepted: dict[DeviceId, dict[datetime, Reading]] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    received: int = 0


def validate(
    batch: Sequence[IngestMessage], states: Mapping[DeviceId, DeviceState], late_horizon: timedelta
) -> ValidatedBatch:
    """Validate the messages in their order. `states` are those of the registered devices."""
    validated = ValidatedBatch()
    for message in batch:
        state = states.get(message.device_id) if message.device_id else None
        if state is None:
            _reject_unknown_device(validated, message)
        else:
            _validate_message(validated, message, state, late_horizon)
    return validated


def _reject_unknown_device(validated: ValidatedBatch, message: IngestMessage) -> None:
    validated.received += message.weight
    rejected = RejectedReading(RejectionReason.UNKNOWN_DEVICE)
    validated.rejections.append(_rejection(message, None, rejected, readings=message.weight))


def _validate_message(
    validated: ValidatedBatch, message: IngestMessage, state: DeviceState, late_horizon: timedelta
) -> None:
    decoded = message.decoded
    _update_presence(state, message)
    accepted = validated.accepted.setdefault(state.device_id, {})
    times = accepted_times(message.received_at, late_horizon)
    rejected = [
        *decoded.rejected,
        *_accept_readings(accepted, state, decoded.readings, times, message.received_at),
    ]
    _record_rejections(validated, message, state, rejected)
    validated.received += len(decoded.readings) + len(decoded.rejected)


def _accept_readings(
    accepted: dict[datetime, Reading],
    state: DeviceState,
    readings: Sequence[Reading],
    times: AcceptedTimes,
    received_at: datetime,
) -> list[RejectedReading]:
    """Accept the readings whose times are accepted, and return the others as rejected.

    A reading without a time is of the time of receipt.
    """
    rejected: list[RejectedReading] = []
    for reading in readings:
        at = reading.time or received_at
        reason = rejection_by_time(at, times)
        if reason is not None:
            rejected.append(RejectedReading(reason, time=at))
            continue
        state.received += 1
        if at in accepted:
            state.duplicate += 1
        else:
            accepted[at] = reading if reading.time else structs.replace(reading, time=at)
    return rejected


def _update_presence(state: DeviceState, message: IngestMessage) -> None:
    """Bring a device online or offline by what it reports.

    A reading ends `offline`, but not `fault`: a device with a fault may go on measuring, so only
    its own status ends the fault.
    """
    reported = message.decoded.status
    if not message.shows_presence or (reported is not None and _is_outdated(state, message)):
        return
    if reported is not None:
        state.status, state.fault_code = reported.status, reported.fault_code
    elif message.decoded.readings and state.status in (DeviceStatus.PENDING, DeviceStatus.OFFLINE):
        state.status = DeviceStatus.ONLINE
    if reported is None or reported.status is not DeviceStatus.OFFLINE:
        state.last_seen_at = message.received_at


def _is_outdated(state: DeviceState, message: IngestMessage) -> bool:
    """Return whether a status was received before the device was last seen.

    A shared subscription sends a device's last will and its next `online` to different ingesters,
    which may commit them in either order. The order of receipt decides.
    """
    return state.last_seen_at is not None and message.received_at < state.last_seen_at


def _record_rejections(
    validated: ValidatedBatch,
    message: IngestMessage,
    state: DeviceState,
    rejected: Sequence[RejectedReading],
) -> None:
    """Record what was rejected of a message. Only the first record has the payload."""
    state.received += len(rejected)
    state.rejected += len(rejected)
    for one in rejected:
        validated.rejections.append(_rejection(message, state.device_id, one))
        message = replace(message, payload=b"")


def _rejection(
    message: IngestMessage,
    device_id: DeviceId | None,
    rejected: RejectedReading,
    *,
    readings: int = 1,
) -> Rejection:
    return Rejection(
        device_id=device_id,
        # PostgreSQL can't store a NUL. MQTT forbids it in topics, but brokers may let it pass.
        topic=message.topic.replace("\0", "\ufffd"),
        payload=message.payload,
        refused=rejected,
        received_at=message.received_at,
        readings=readings,
    )
