"""Whose access token a request has."""

from datetime import UTC, datetime

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import Scope

from core.errors import BadToken, ExpiredToken
from core.tokens import Identity, Verifier


def identity_of(scope: Scope) -> Identity:
    """Raises BadToken, ExpiredToken."""
    scheme, token = get_authorization_scheme_param(Headers(scope=scope).get("Authorization"))
    if scheme.lower() != "bearer":
        raise BadToken
    tokens: Verifier = scope["app"].state.services.tokens
    return tokens.verify(token, now=datetime.now(UTC))


def user_of(scope: Scope) -> str | None:
    """The id of who has a valid token."""
    try:
        return str(identity_of(scope).user_id)
    except (BadToken, ExpiredToken):
        return None
