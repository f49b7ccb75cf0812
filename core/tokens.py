"""Sign and verify access tokens (JWT, RFC 7519, HS256). The clock is an argument."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from uuid import UUID

import jwt

from core.enums import UserRole
from core.errors import BadToken, ExpiredToken
from core.ids import UserId

_ALGORITHM = "HS256"
_CLAIMS = ["id", "email", "role", "iat", "exp"]


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that a token identifies."""

    user_id: UserId
    email: str
    role: UserRole
    expires_at: datetime


def sign(
    secret: str, *, user_id: UserId, email: str, role: UserRole, now: datetime, ttl: timedelta
) -> str:
    """Return an access token of a user."""
    claims = {"id": str(user_id), "email": email, "role": role, "iat": now, "exp": now + ttl}
    return jwt.encode(claims, secret, _ALGORITHM)


def verify(secret: str, token: str, *, now: datetime) -> Identity:
    """Return the user of a token. Raises BadToken and ExpiredToken."""
    return _not_expired(_read(secret, token), now)


class Verifier:
    """Verifies tokens, and caches the decoded ones: most requests repeat a token."""

    def __init__(self, secret: str, *, known_max: int = 10_000) -> None:
        self._read = lru_cache(known_max)(partial(_read, secret))

    def verify(self, token: str, *, now: datetime) -> Identity:
        """Return the user of a token. Raises BadToken and ExpiredToken."""
        return _not_expired(self._read(token), now)


def _read(secret: str, token: str) -> Identity:
    """Decode a token, expired or not. Raises BadToken."""
    options = {"require": _CLAIMS, "verify_exp": False, "verify_iat": False}
    try:
        claims = jwt.decode(token, secret, [_ALGORITHM], options=options)  # type: ignore[arg-type]
        identity = Identity(
            user_id=UserId(UUID(claims["id"])),
            email=str(claims["email"]),
            role=UserRole(claims["role"]),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise BadToken from error
    return identity


def _not_expired(identity: Identity, now: datetime) -> Identity:
    if now >= identity.expires_at:
        raise ExpiredToken
    return identity


def hash_of(secret: str) -> bytes:
    """Return the hash that is stored of a secret. 256 random bits need no key stretching."""
    return hashlib.sha256(secret.encode()).digest()
