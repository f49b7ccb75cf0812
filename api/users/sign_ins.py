"""Sign-ins: an access token that says who it is, a refresh token that is spent once.

Whoever adds or revokes a refresh token locks the person first: a password that changes, or an
account that is deactivated, leaves no sign-in behind that was under way.
"""

import secrets
from dataclasses import dataclass
from uuid import UUID, uuid4

from api.http.usage_limits import Quota, WriteLimits, check_quota
from core import tokens
from core.clock import real_now
from core.errors import BadCredentials, BadToken
from core.settings import ApiSettings
from core.tokens import hash_of
from db import refresh_tokens, sign_in_codes, users
from db.pool import Connection, Pool
from db.users import User


@dataclass(frozen=True, slots=True)
class SignIn:
    user: User
    access_token: str
    refresh_token: str
    expires_in_s: int


async def sign_in(pool: Pool, settings: ApiSettings, user: User) -> SignIn:
    """A sign-in of somebody whose password was right a moment ago. Raises BadCredentials."""
    async with pool.acquire() as conn, conn.transaction():
        await users.lock(conn, user.id)
        now = await users.by_id(conn, user.id)
        if now is None or not now.is_active or now.password_hash != user.password_hash:
            raise BadCredentials
        return await begin(conn, settings, now)


async def begin(conn: Connection, settings: ApiSettings, user: User) -> SignIn:
    """A sign-in of a person who is locked, or new, with a family of refresh tokens of its own.

    Raises QuotaExceeded.
    """
    had = await refresh_tokens.families(conn, user.id)
    check_quota(Quota.SESSIONS, had=had, at_most=settings.quota_sessions)
    return await _hand_out(conn, settings, user, family_id=uuid4())


async def sign_in_once(pool: Pool, settings: ApiSettings, code: str) -> SignIn:
    """A sign-in by a code that is good for one. Raises BadToken."""
    async with pool.acquire() as conn, conn.transaction():
        user_id = await sign_in_codes.spend(conn, hash_of(code))
        if user_id is not None:
            await users.lock(conn, user_id)
            user = await users.by_id(conn, user_id)
            if user is not None and user.is_active:
                return await begin(conn, settings, user)
    raise BadToken


async def renew(
    pool: Pool, settings: ApiSettings, writes: WriteLimits, refresh_token: str
) -> SignIn:
    """Spend a refresh token for new ones.

    One that is spent already is in the wrong hands, or its successors are: nobody can tell, so
    the whole family is revoked. Raises BadToken, TooMany.
    """
    token_hash = hash_of(refresh_token)
    async with pool.acquire() as conn, conn.transaction():
        session = None
        owner = await refresh_tokens.lock_owner(conn, token_hash)
        if owner:
            writes.count(owner)
        user = await users.by_id(conn, owner) if owner else None
        family_id = await refresh_tokens.spend(conn, token_hash)
        if family_id is None:
            await refresh_tokens.revoke_family(conn, token_hash)
        elif user is not None and user.is_active:
            session = await _hand_out(conn, settings, user, family_id=family_id)
    if session is None:
        raise BadToken
    return session


async def end(pool: Pool, refresh_token: str) -> None:
    """Revoke the family of a token, whoever knows it."""
    token_hash = hash_of(refresh_token)
    async with pool.acquire() as conn, conn.transaction():
        await refresh_tokens.lock_owner(conn, token_hash)
        await refresh_tokens.revoke_family(conn, token_hash)


async def _hand_out(
    conn: Connection, settings: ApiSettings, user: User, *, family_id: UUID
) -> SignIn:
    now, refresh_token = real_now(), secrets.token_urlsafe(32)
    await refresh_tokens.add(
        conn,
        family_id=family_id,
        user_id=user.id,
        token_hash=hash_of(refresh_token),
        expires_at=now + settings.refresh_token_ttl,
    )
    access_token = tokens.sign(
        settings.jwt_secret.get_secret_value(),
        user_id=user.id,
        email=user.email,
        role=user.role,
        now=now,
        ttl=settings.access_token_ttl,
    )
    expires_in_s = round(settings.access_token_ttl.total_seconds())
    return SignIn(user, access_token, refresh_token, expires_in_s)
