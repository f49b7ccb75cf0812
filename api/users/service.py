"""Use cases of users: register, log in, change profile and password, deactivate.

Lock order: the row of the user, then the user's listings by id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from api.http.services import Services
from api.users import sign_ins
from api.users.sign_ins import SignIn
from core.enums import ActionSubject, UserRole
from core.errors import BadCredentials, Invalid, NotFound, OwnAccount
from core.ids import UserId
from core.tokens import Identity
from db import admin_actions, listings, users
from db.admin_actions import NewAdminAction
from db.errors import refusals
from db.pool import Pool
from db.sign_ins import revoke_all
from db.users import User

PROFILES: Mapping[str, tuple[str, ...]] = {
    UserRole.HOST: ("property_name", "tariff_per_kwh"),
    UserRole.BUYER: ("monthly_demand_kwh",),
    UserRole.INVESTOR: ("company",),
    UserRole.ADMIN: (),
}
_COMMON_FIELDS = ("full_name", "phone")


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who registers. `password` is the plain text."""

    email: str
    password: str = field(repr=False)
    full_name: str
    role: UserRole
    phone: str | None


async def register(services: Services, new: NewUser) -> SignIn:
    """Create a user with an empty wallet and sign in. Raises EmailTaken."""
    password_hash = await services.passwords.hash(new.password)
    async with services.pool.acquire() as conn, conn.transaction():
        with refusals():
            user = await users.create(
                conn,
                email=new.email,
                password_hash=password_hash,
                full_name=new.full_name,
                phone=new.phone,
                role=new.role,
            )
        return await sign_ins.begin(conn, services.settings, user)


async def login(services: Services, email: str, password: str) -> SignIn:
    """Sign in with email and password. Raises BadCredentials, QuotaExceeded."""
    async with services.pool.acquire() as conn:
        user = await users.by_email(conn, email)
    password_hash = user.password_hash if user else None
    # Compared also without a user: the time of the answer must not tell which emails exist.
    matches = await services.passwords.matches(password, password_hash)
    if user is None or not matches or not user.is_active:
        raise BadCredentials
    return await sign_ins.sign_in(services.pool, services.settings, user)


async def change(pool: Pool, caller: Identity, changes: Mapping[str, Any]) -> User:
    """Change fields of the caller's own profile; return the user. Raises Invalid, NotFound."""
    allowed = (*_COMMON_FIELDS, *PROFILES[caller.role])
    for name in changes:
        if name not in allowed:
            raise Invalid(field=name, allowed=f"is not in the profile of a {caller.role}")
    async with pool.acquire() as conn, conn.transaction():
        await users.lock(conn, caller.user_id)
        user = await users.by_id(conn, caller.user_id)
        if user is None:
            raise NotFound(what="user")
        await users.change(conn, replace(user, **changes))
        changed = await users.by_id(conn, caller.user_id)
        assert changed is not None
    return changed


async def change_password(services: Services, caller: Identity, current: str, new: str) -> None:
    """Change the caller's password and revoke all their refresh tokens. Raises BadCredentials."""
    async with services.pool.acquire() as conn:
        user = await users.by_id(conn, caller.user_id)
    old_hash = user.password_hash if user else None
    if not await services.passwords.matches(current, old_hash) or old_hash is None:
        raise BadCredentials
    new_hash = await services.passwords.hash(new)
    async with services.pool.acquire() as conn, conn.transaction():
        # The condition on the old hash lets one of two changes at the same time win.
        if not await users.change_password(
            conn, caller.user_id, old_hash=old_hash, new_hash=new_hash
        ):
            raise BadCredentials
        await revoke_all(conn, caller.user_id)


async def set_active(
    pool: Pool, admin: Identity, user_id: UserId, active: bool, reason: str | None
) -> User:
    """Activate or deactivate a user; return the user. The decision is recorded with `reason`.

    Deactivation revokes the user's refresh tokens and pauses the user's listings.

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
            await revoke_all(conn, user_id)
            await listings.pause_all(conn, user_id)
        user = await users.by_id(conn, user_id)
        assert user is not None
    return user
