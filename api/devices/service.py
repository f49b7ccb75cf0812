"""Use cases of devices: register, change, remove, replace the MQTT password.

Lock order: the owner (when a device is added), the device, its state, its listings by id. No
reading of a device is accounted while its state is locked.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

from api.http.fields import check_together
from api.http.usage_limits import Quota, check_quota
from core.clock import REAL_TIME, Clock
from core.device_passwords import hash_of, password_of, secret_of
from core.enums import ActionSubject, UserRole
from core.errors import CapacityFixed, DeviceFrozen, DeviceFunded, FundingTermsFixed, NotFound
from core.events import ADMIN, Event, EventType
from core.ids import DeviceId
from core.selling import SellingRules
from core.settings import ApiSettings
from core.tokens import Identity
from db import (
    admin_actions,
    device_credentials,
    device_decisions,
    device_states,
    devices,
    listings,
    meters,
    outbox,
    users,
)
from db.admin_actions import NewAdminAction
from db.devices import Device, NewDevice
from db.errors import refusals
from db.pool import Connection, Pool


async def own_device(conn: Connection, caller: Identity, device_id: DeviceId) -> Device:
    """Return a device of the caller, or any device to an administrator. Raises NotFound."""
    return _own(await devices.by_id(conn, device_id), caller)


async def register(
    pool: Pool, settings: ApiSettings, host: Identity, wanted: Mapping[str, Any]
) -> tuple[Device, str]:
    """Register a device; return it and its MQTT password, of which only the hash is stored.

    `wanted` has the fields of `NewDevice` that the host chooses. If the same meter was registered
    before, the device continues from its counters, so that no energy is sold twice.

    Raises ExternalIdTaken, QuotaExceeded.
    """
    device_id = DeviceId(uuid4())
    password = password_of(_secret(settings), device_id, version=1)
    hashed = hash_of(password)
    new = NewDevice(id=device_id, owner_id=host.user_id, credential_hash=hashed, **wanted)
    async with pool.acquire() as conn, conn.transaction():
        await users.lock(conn, host.user_id)
        registered = await devices.count(conn, host.user_id)
        check_quota(Quota.DEVICES, had=registered, at_most=settings.quota_devices)
        with refusals():
            await devices.register(conn, new)
        await meters.carry_over(conn, device_id)
        device = await own_device(conn, host, device_id)
        await _announce(conn, EventType.DEVICE_REGISTERED, device)
    return device, password


async def change(
    pool: Pool,
    caller: Identity,
    device_id: DeviceId,
    wanted: Mapping[str, Any],
    *,
    rules: SellingRules,
    reason: str | None,
    clock: Clock = REAL_TIME,
) -> Device:
    """Change the fields in `wanted` and return the device.

    A change by an administrator is recorded with `reason`.

    Raises NotFound, Invalid, CapacityFixed, FundingTermsFixed.
    """
    async with pool.acquire() as conn, conn.transaction():
        before = _own(await devices.lock(conn, device_id), caller)
        after = replace(before, **wanted)
        check_together(latitude=after.latitude, longitude=after.longitude)
        check_together(funding_target=after.funding_target, revenue_share=after.revenue_share)
        if before.funded and _terms(after) != _terms(before):
            raise FundingTermsFixed
        if after.capacity_w != before.capacity_w and await _was_accounted(conn, device_id):
            raise CapacityFixed
        await devices.change(conn, after)
        if after.capacity_w != before.capacity_w:
            await _forget_approval(conn, device_id, rules, clock)
        if caller.role is UserRole.ADMIN and after != before:
            old, new = _json_fields(before), _json_fields(after)
            changed = [name for name in wanted if old[name] != new[name]]
            await _record(
                conn, caller, "device.changed", device_id, reason,
                before={name: old[name] for name in changed},
                after={name: new[name] for name in changed},
            )  # fmt: skip
        await _announce(conn, EventType.DEVICE_CHANGED, after)
        return await own_device(conn, caller, device_id)


async def remove(pool: Pool, caller: Identity, device_id: DeviceId, *, reason: str | None) -> None:
    """Remove a device and cancel its open listings; its history stays.

    A removal by an administrator is recorded with `reason`.

    Raises NotFound, DeviceFunded, DeviceFrozen.
    """
    async with pool.acquire() as conn, conn.transaction():
        device = _own(await devices.lock(conn, device_id), caller)
        if device.funded and caller.role is not UserRole.ADMIN:
            raise DeviceFunded
        states = await device_states.lock(conn, [device_id])
        if states[device_id].selling.frozen and caller.role is not UserRole.ADMIN:
            raise DeviceFrozen
        await listings.cancel_all(conn, device_id)
        await devices.remove(conn, device_id)
        await _announce(conn, EventType.DEVICE_REMOVED, device)
        if caller.role is UserRole.ADMIN:
            await _record(
                conn, caller, "device.removed", device_id, reason,
                before={"removed": False}, after={"removed": True},
            )  # fmt: skip


async def replace_password(
    pool: Pool, settings: ApiSettings, owner: Identity, device_id: DeviceId
) -> tuple[Device, str]:
    """Replace the MQTT password of a device; return the device and its new password.

    Raises NotFound.
    """
    async with pool.acquire() as conn, conn.transaction():
        device = _own(await devices.lock(conn, device_id), owner)
        version = await device_credentials.next_version(conn, device_id)
        password = password_of(_secret(settings), device_id, version)
        await device_credentials.replace(conn, device_id, hash_of(password))
    return device, password


async def _announce(conn: Connection, kind: EventType, device: Device) -> None:
    """Add an event for administrators that describes the device.

    Its status is not part of it: presence has events of its own.
    """
    data = {
        "id": str(device.id),
        "owner_id": str(device.owner_id),
        "name": device.name,
        "kind": device.kind,
        "dialect": device.dialect,
        "capacity_w": device.capacity_w,
        "latitude": device.latitude,
        "longitude": device.longitude,
    }
    await outbox.add(conn, [Event(kind, (ADMIN,), data)])


def _own(device: Device | None, caller: Identity) -> Device:
    """Return the device if the caller owns it or is an administrator. Raises NotFound."""
    if device is None or (caller.role is not UserRole.ADMIN and device.owner_id != caller.user_id):
        raise NotFound(what="device")
    return device


async def _was_accounted(conn: Connection, device_id: DeviceId) -> bool:
    """Lock the state of a device; return True if a reading was accounted with its capacity."""
    return (await device_states.lock(conn, [device_id]))[device_id].account is not None


async def _forget_approval(
    conn: Connection, device_id: DeviceId, rules: SellingRules, clock: Clock
) -> None:
    """Withdraw the approval of the capacity, and pause listings that need it."""
    decided = await device_decisions.lock(conn, device_id)
    assert decided is not None
    await device_decisions.decide(conn, device_id, replace(decided, capacity_approved=False))
    await device_decisions.apply_to_listings(conn, device_id, rules, clock.now())


async def _record(
    conn: Connection,
    admin: Identity,
    action: str,
    device_id: DeviceId,
    reason: str | None,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    new = NewAdminAction(
        admin.user_id, action, ActionSubject.DEVICE, device_id, before, after, reason
    )
    await admin_actions.record(conn, new)


def _json_fields(device: Device) -> dict[str, Any]:
    """Return the fields of a device as JSON has them: decimals as text."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in asdict(device).items()
    }


def _terms(device: Device) -> tuple[object, object]:
    return device.funding_target, device.revenue_share


def _secret(settings: ApiSettings) -> bytes:
    secret = secret_of(settings.device_secret, settings.jwt_secret)
    assert secret is not None, "the settings of the API require a JWT secret"
    return secret
