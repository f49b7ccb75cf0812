"""Sign-ins: an access token that names the user, and refresh tokens that are good for one use.

The refresh tokens of a sign-in form a family. Every transaction that adds or revokes one locks the
user first. So a change of the password, or a deactivation, leaves no sign-in behind that was under
way.
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
from db import sign_ins, users
from db.pool import Connection, Pool
from db.users import User


@dataclass(frozen=True, slots=True)
class SignIn:
    """The user and the tokens of a sign-in. The hub stores only a hash of the refresh token."""

    user: User
    access_token: str
    refresh_token: str
    expires_in_s: int


async def sign_in(pool: Pool, settings: ApiSettings, user: User) -> SignIn:
    """Sign in a user whose password was compared before the lock. Raises BadCredentials.

    Raises QuotaExceeded, too. A password that changed since the comparison is BadCredentials.
    """
    async with pool.acquire() as conn, conn.transaction():
        await users.lock(conn, user.id)
        locked = await users.by_id(conn, user.id)
        if locked is None or not locked.is_active or locked.password_hash != user.password_hash:
            raise BadCredentials
        return await begin(conn, settings, locked)


async def begin(conn: Connection, settings: ApiSettings, user: User) -> SignIn:
    """Begin a sign-in with a new family of refresh tokens. Raises QuotaExceeded.

    The caller has locked the user, or created the user in this transaction.
    """
    sessions = await sign_ins.count_families(conn, user.id)
    check_quota(Quota.SESSIONS, had=sessions, at_most=settings.quota_sessions)
    return await _issue(conn, settings, user, family_id=uuid4())


async def sign_in_once(pool: Pool, settings: ApiSettings, code: str) -> SignIn:
    """Sign in by a code that is good for one use. Raises BadToken, QuotaExceeded."""
    async with pool.acquire() as conn, conn.transaction():
        user_id = await sign_ins.spend_code(conn, hash_of(code))
        if user_id is not None:
            await users.lock(conn, user_id)
            user = await users.by_id(conn, user_id)
            if user is not None and user.is_active:
                return await begin(conn, settings, user)
    raise BadToken


async def renew(
    pool: Pool, settings: ApiSettings, writes: WriteLimits, refresh_token: str
) -> SignIn:
    """Exchange a refresh token for a new pair of tokens. Raises BadToken, TooMany.

    A token that was used before has been stolen, or its successor has: the hub can't tell which.
    It revokes the whole family.
    """
    token_hash = hash_of(refresh_token)
    async with pool.acquire() as conn, conn.transaction():
        session = None
        owner = await sign_ins.lock_token_owner(conn, token_hash)
        if owner:
            writes.count(owner)
        user = await users.by_id(conn, owner) if owner else None
        family_id = await sign_ins.spend_token(conn, token_hash)
        if family_id is None:
            await sign_ins.revoke_family(conn, token_hash)
        elif user is not None and user.is_active:
            session = await _issue(conn, settings, user, family_id=family_id)
    # Raised after the commit: otherwise the revocation would be rolled back.
    if session is None:
        raise BadToken
    return session


async def end(pool: Pool, refresh_token: str) -> None:
    """Revoke the family of a refresh token. An unknown token is no error."""
    token_hash = hash_of(refresh_token)
    async with pool.acquire() as conn, conn.transaction():
        await sign_ins.lock_token_owner(conn, token_hash)
        await sign_ins.revoke_family(conn, token_hash)


async def _issue(conn: Connection, settings: ApiSettings, user: User, *, family_id: UUID) -> SignIn:
    """Add a refresh token to a family, and sign an access token."""
    now, refresh_token = real_now(), secrets.token_urlsafe(32)
    await sign_ins.add_token(
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
