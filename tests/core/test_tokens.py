"""Access tokens identify their user until they expire."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest

from core.errors import BadToken, ExpiredToken
from core.tokens import Verifier, sign, verify

SECRET = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TTL = timedelta(minutes=15)
USER = UUID(int=7)


def token(secret: str = SECRET) -> str:
    return sign(secret, user_id=USER, email="asha@example.org", role="host", now=NOW, ttl=TTL)


def test_a_signed_token_identifies_its_user() -> None:
    identity = verify(SECRET, token(), now=NOW)
    assert (identity.user_id, identity.role) == (USER, "host")
    assert identity.expires_at == NOW + TTL


def test_a_token_expires() -> None:
    verify(SECRET, token(), now=NOW + TTL - timedelta(seconds=1))
    with pytest.raises(ExpiredToken):
        verify(SECRET, token(), now=NOW + TTL)


def test_a_cached_token_expires_too() -> None:
    verifier = Verifier(SECRET)
    for _ in range(2):
        assert verifier.verify(token(), now=NOW) == verify(SECRET, token(), now=NOW)
    with pytest.raises(ExpiredToken):
        verifier.verify(token(), now=NOW + TTL)


CLAIMS = {"id": str(USER), "email": "a@b.c", "role": "host", "iat": 0, "exp": 2**40}


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "not.a.token",
        token("another secret of thirty-two bytes!"),
        jwt.encode(CLAIMS, None, "none"),
        jwt.encode({**CLAIMS, "exp": "never"}, SECRET, "HS256"),
        jwt.encode({**CLAIMS, "id": "me"}, SECRET, "HS256"),
        jwt.encode({"id": str(USER), "exp": 2**40}, SECRET, "HS256"),
        jwt.encode({**CLAIMS, "exp": 10**30}, SECRET, "HS256"),
    ],
)
def test_a_token_not_signed_by_the_hub_is_refused(forged: str) -> None:
    with pytest.raises(BadToken):
        verify(SECRET, forged, now=NOW)
    with pytest.raises(BadToken):
        Verifier(SECRET).verify(forged, now=NOW)
