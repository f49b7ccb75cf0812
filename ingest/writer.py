"""One batch in one transaction: readings, device states, intervals, listings, events, rejections.

Lock order: device states by id, then listings by id. Writing a batch again changes nothing but the
counts of received and duplicate readings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from core.events import ADMIN, Event, EventType, device_channel, user_channel
from core.ids import DeviceId
from core.readings import Reading
from core.selling import DEFAULT_RULES, SellingRules
from core.units import rfc3339
from db import device_states, devices, outbox, readings
from db.device_states import DeviceState
from db.pool import Connection, Pool
from db.readings import Rejection
from ingest.accounting import account, measured_at
from ingest.firmware_decoding import DecodedBatch, decode_batch
from ingest.listing_sync import sync_listings
from ingest.messages import IngestMessage
from ingest.reaccounting import LIMITS, Limits
from ingest.validation import ValidatedBatch, validate


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """The counts of a committed batch: received = stored + duplicate + rejected.

    `ignored` counts messages of firmwares that hold nothing useful or are of no registered device.
    """

    received: int
    stored: int
    rejections: tuple[Rejection, ...]
    ignored: int

    @property
    def duplicate(self) -> int:
        return self.received - self.stored - sum(r.readings for r in self.rejections)


async def write(
    pool: Pool,
    batch: Sequence[IngestMessage],
    late_horizon: timedelta,
    rules: SellingRules = DEFAULT_RULES,
    limits: Limits = LIMITS,
) -> WrittenBatch:
    """Commit everything that a batch of messages holds, or nothing of it."""
    device_ids = {m.device_id for m in batch if m.device_id is not None}
    names = {m.addressed.name for m in batch if m.addressed is not None}
    now = max(m.received_at for m in batch)
    async with pool.acquire() as conn, conn.transaction():
        named = await devices.by_external_id(conn, names) if names else {}
        device_ids |= {device.id for device in named.values()}
        states = await device_states.lock(conn, device_ids)
        before = {s.device_id: (s.status, s.fault_code) for s in states.values()}
        decoded = await decode_batch(conn, batch, named, states) if names else DecodedBatch(batch)
        validated = validate(decoded.messages, states, late_horizon)
        new_readings = await _store(conn, states, validated)
        changes = await account(conn, states, new_readings, decoded.retimed, limits)
        await sync_listings(conn, states, changes, now, rules)
        await device_states.save(conn, list(states.values()))
        if validated.rejections:
            await readings.reject(conn, validated.rejections)
        await _announce_statuses(conn, states, before)
    # Readings that were stored before and got another time were neither received nor stored now.
    retimed = sum(len(times) for times in decoded.retimed.values())
    stored = sum(len(new) for new in new_readings.values()) - retimed
    return WrittenBatch(
        validated.received - retimed, stored, tuple(validated.rejections), decoded.ignored
    )


async def _store(
    conn: Connection, states: Mapping[DeviceId, DeviceState], validated: ValidatedBatch
) -> dict[DeviceId, list[Reading]]:
    """Store accepted readings, count them, and return those that are new.

    While a device is locked, a reading that was measured after all its stored readings is new for
    certain. Such readings are copied without a check, which is much faster.
    """
    certain: list[tuple[DeviceId, Reading]] = []
    to_check: list[tuple[DeviceId, Reading]] = []
    for device_id, accepted in validated.accepted.items():
        if accepted:
            is_new = states[device_id].measured_before(min(accepted))
            rows = certain if is_new else to_check
            rows += [(device_id, reading) for reading in accepted.values()]
    if certain:
        await readings.append(conn, certain)
    known = await readings.store(conn, to_check) if to_check else set()
    new_readings: dict[DeviceId, list[Reading]] = {}
    for device_id, accepted in validated.accepted.items():
        state = states[device_id]
        new = [r for at, r in accepted.items() if not known or (device_id, at) not in known]
        state.stored += len(new)
        state.duplicate += len(accepted) - len(new)
        if new:
            new_readings[device_id] = new
    await _update_charges(conn, states, new_readings)
    return new_readings


async def _update_charges(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    new_readings: Mapping[DeviceId, list[Reading]],
) -> None:
    """Set each battery's charge to that of its latest measurement, in any order of arrival."""
    late = []
    for device_id, new in new_readings.items():
        with_charge = [r for r in new if r.battery_soc_pct is not None]
        if not with_charge:
            continue
        newest, state = max(with_charge, key=measured_at), states[device_id]
        if state.measured_before(measured_at(newest)):
            state.battery_soc_pct = newest.battery_soc_pct
        else:
            late.append(device_id)
    if late:
        for device_id, charge_pct in (await readings.last_charges(conn, late)).items():
            states[device_id].battery_soc_pct = charge_pct


async def _announce_statuses(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    before: Mapping[DeviceId, tuple[str, str | None]],
) -> None:
    changed = [s for s in states.values() if (s.status, s.fault_code) != before[s.device_id]]
    if changed:
        await outbox.add(conn, [status_event(state) for state in changed])


def status_event(state: DeviceState) -> Event:
    """Return the event of a device's present status, for its followers, its owner and admins."""
    return Event(
        EventType.DEVICE_STATUS,
        (device_channel(state.device_id), user_channel(state.owner_id), ADMIN),
        {
            "device_id": str(state.device_id),
            "status": state.status,
            "fault_code": state.fault_code,
            "last_seen_at": rfc3339(state.last_seen_at) if state.last_seen_at else None,
        },
    )
