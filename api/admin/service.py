"""Decisions of administrators on devices. Each is recorded.

Lock order: the device, its state, its listings by id. No reading of the device is accounted while
its state is locked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core.clock import REAL_TIME, Clock
from core.enums import ActionSubject
from core.errors import Invalid, NotFound
from core.flags import FlagKind
from core.ids import DeviceId
from core.readings import MAX_CLOCK_AHEAD
from core.selling import SellingRules
from core.tokens import Identity
from core.units import SLOT, rfc3339, slot_of
from db import admin_actions, device_decisions, devices, flags, intervals
from db.admin_actions import NewAdminAction
from db.device_decisions import Decided
from db.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on a device, and its reason. None leaves a field as it is."""

    reason: str
    capacity_approved: bool | None = None
    frozen: bool | None = None
    earns_from: datetime | None = None
    flags_confirmed: tuple[FlagKind, ...] = ()


async def decide(
    pool: Pool,
    admin: Identity,
    device_id: DeviceId,
    decision: Decision,
    rules: SellingRules,
    clock: Clock = REAL_TIME,
) -> None:
    """Apply and record a decision, and pause or resume the device's listings accordingly.

    A removed device allows no decision but the confirmation of flags.

    Raises NotFound, Invalid.
    """
    async with pool.acquire() as conn, conn.transaction():
        await devices.lock(conn, device_id)
        before = await device_decisions.lock(conn, device_id)
        if before is None or (before.removed and not _only_confirms(decision)):
            raise NotFound(what="device")
        after = _apply(before, decision)
        confirmed = await flags.confirm(conn, device_id, decision.flags_confirmed, admin.user_id)
        await _write(conn, device_id, before, after)
        await device_decisions.apply_to_listings(conn, device_id, rules, clock.now())
        changed = _changes(before, after, confirmed)
        if changed is not None:
            await admin_actions.record(
                conn,
                NewAdminAction(
                    admin.user_id,
                    "device.decided",
                    ActionSubject.DEVICE,
                    device_id,
                    *changed,
                    decision.reason,
                ),
            )


async def _write(conn: Connection, device_id: DeviceId, before: Decided, after: Decided) -> None:
    if after == before:
        return
    await device_decisions.decide(conn, device_id, after)
    if after.earns_from != before.earns_from:
        # The old start may lie within a slot. The new one is the start of a slot, so that no
        # energy of the old slot is held back any more.
        await intervals.clear_early(conn, device_id, slot_of(before.earns_from))
        await device_decisions.measure_again(conn, device_id, max_clock_ahead=MAX_CLOCK_AHEAD)


def _only_confirms(decision: Decision) -> bool:
    return decision == Decision(decision.reason, flags_confirmed=decision.flags_confirmed)


def _apply(before: Decided, decision: Decision) -> Decided:
    """Return the state after the decision. Raises Invalid."""
    after = before
    if decision.capacity_approved is not None:
        after = replace(after, capacity_approved=decision.capacity_approved)
    if decision.frozen is not None:
        after = replace(after, frozen=decision.frozen)
    if decision.earns_from is not None:
        after = replace(after, earns_from=_earns_from(before, decision.earns_from))
    return after


def _earns_from(before: Decided, wanted: datetime) -> datetime:
    """Return the start of the slot that holds the instant. Raises Invalid."""
    if wanted > before.registered_at:
        registration = rfc3339(before.registered_at)
        raise Invalid(
            field="earns_from",
            allowed=f"must not be after the registration of the device, {registration}",
        )
    start = slot_of(wanted)
    accounted_until = before.accounted_until
    if accounted_until is not None and start < accounted_until:
        earliest = rfc3339(slot_of(accounted_until) + SLOT)
        raise Invalid(
            field="earns_from",
            allowed=f"must not be before {earliest}: until then the energy of this meter was"
            " accounted under an earlier registration",
        )
    return start


def _changes(
    before: Decided, after: Decided, confirmed: list[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the old and new values of what changed, for the record. None: nothing changed."""
    all_old, all_new = _json_fields(before), _json_fields(after)
    changed = [name for name in all_old if all_old[name] != all_new[name]]
    old = {name: all_old[name] for name in changed}
    new = {name: all_new[name] for name in changed}
    if confirmed:
        old["flags_open"], new["flags_confirmed"] = confirmed, confirmed
    return (old, new) if new else None


def _json_fields(decided: Decided) -> dict[str, Any]:
    return {
        "capacity_approved": decided.capacity_approved,
        "frozen": decided.frozen,
        "earns_from": rfc3339(decided.earns_from),
    }
