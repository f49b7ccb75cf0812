"""What people, and administrators, change of accounts. Locks: the person, then listings by id."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from api.http.services import Services
from core.enums import ActionSubject, UserRole
from core.errors import BadCredentials, Invalid, NotFound, OwnAccount
from core.ids import UserId
from core.tokens import Identity
from db import admin_actions, listings, refresh_tokens, users
from db.admin_actions import NewAdminAction
from db.pool import Pool
from db.users import User

PROFILES: Mapping[str, tuple[str, ...]] = {
    UserRole.HOST: ("property_name", "tariff_per_kwh"),
    UserRole.BUYER: ("monthly_demand_kwh",),
    UserRole.INVESTOR: ("company",),
    UserRole.ADMIN: (),
}
_OF_EVERYONE = ("full_name", "phone")


async def change(pool: Pool, caller: Identity, wanted: Mapping[str, Any]) -> User:
    """Change what is in `wanted` of the caller's own account. Raises Invalid."""
    own = (*_OF_EVERYONE, *PROFILES[caller.role])
    for field in wanted:
        if field not in own:
            raise Invalid(field=field, allowed=f"is not in the profile of a {caller.role}")
    async with pool.acquire() as conn, conn.transaction():
        await users.lock(conn, caller.user_id)
        user = await users.by_id(conn, caller.user_id)
        if user is None:
            raise NotFound(what="user")
        await users.change(conn, replace(user, **wanted))
        changed = await users.by_id(conn, caller.user_id)
        assert changed is not None
    return changed


async def change_password(services: Services, caller: Identity, current: str, new: str) -> None:
    """Change the caller's password, which ends all their sign-ins. Raises BadCredentials."""
    async with services.pool.acquire() as conn:
        user = await users.by_id(conn, caller.user_id)
    old_hash = user.password_hash if user else None
    if not await services.passwords.matches(current, old_hash) or old_hash is None:
        raise BadCredentials
    new_hash = await services.passwords.hash(new)
    async with services.pool.acquire() as conn, conn.transaction():
        if not await users.change_password(
            conn, caller.user_id, old_hash=old_hash, new_hash=new_hash
        ):
            raise BadCredentials
        await refresh_tokens.revoke_all(conn, caller.user_id)


async def set_active(
    pool: Pool, admin: Identity, user_id: UserId, active: bool, reason: str | None
) -> User:
    """Let somebody in again, or shut them out with all that they offer.

    Raises NotFound, OwnAccount.
    """
    if user_id == admin.user_id and not active:
        raise OwnAccount
    async with pool.acquire() as conn, conn.transaction():
        await users.lock(conn, user_id)
        before = await users.by_id(conn, user_id)
        if before is None:
            raise NotFound(what="user")
        await users.set_active(conn, user_id, active)
        if before.is_active != active:
            new = NewAdminAction(
                admin.user_id, "user.activated" if active else "user.deactivated",
                ActionSubject.USER, user_id,
                {"is_active": before.is_active}, {"is_active": active}, reason,
            )  # fmt: skip
            await admin_actions.record(conn, new)
        if not active:
            await refresh_tokens.revoke_all(conn, user_id)
            await listings.pause_all(conn, user_id)
        user = await users.by_id(conn, user_id)
        assert user is not None
    return user
