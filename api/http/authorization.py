"""The authorization of requests: access token, limit of changes, active account, role.

A route names who may call it in its signature, by a type of `dependencies` such as `Host`. Each of
these types depends on a `RequireRole`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.types import Scope
from structlog.contextvars import bind_contextvars

from api.http.metrics import ApiMetrics
from api.http.usage_limits import WriteLimits
from core.clock import real_now
from core.errors import AccountInactive, BadToken, ExpiredToken, Forbidden
from core.ids import UserId
from core.tokens import Identity, Verifier
from db import users
from db.errors import raise_if_cancelled
from db.pool import Pool

_READ_METHODS = ("GET", "HEAD")


class ActiveUserLookup:
    """Answers whether users are active, with one query for all requests that wait.

    The query that answers a request starts after the request asked. So a user who was deactivated
    before the request is refused. Requests that arrive during a query share the next one.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._requested = asyncio.Event()
        # The users of the next query, and its result. `run` replaces both before it starts the
        # query: a request never joins a query that is already running.
        self._user_ids: set[UserId] = set()
        self._inactive: asyncio.Future[set[UserId]] = asyncio.Future()

    async def is_active(self, user_id: UserId) -> bool:
        """Return whether a user exists and is active. Raises what the query raised."""
        self._user_ids.add(user_id)
        self._requested.set()
        # Shielded: other requests wait for the same future.
        return user_id not in await asyncio.shield(self._inactive)

    async def run(self) -> None:
        """Query whenever a request waits, until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            user_ids, self._user_ids = self._user_ids, set()
            inactive, self._inactive = self._inactive, asyncio.Future()
            try:
                async with self._pool.acquire() as conn:
                    inactive.set_result(await users.inactive_among(conn, user_ids))
            except Exception as error:  # noqa: BLE001 - raised in the requests that wait
                raise_if_cancelled(error)
                inactive.set_exception(error)
                # Marks the exception as retrieved: every request may have been cancelled.
                inactive.exception()


@contextlib.asynccontextmanager
async def open_active_user_lookup(pool: Pool) -> AsyncIterator[ActiveUserLookup]:
    """Run a lookup until the block ends."""
    lookup = ActiveUserLookup(pool)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(lookup.run())
        try:
            yield lookup
        finally:
            running.cancel()


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Everything that the authorization of a request needs, held in `app.state.access`."""

    tokens: Verifier
    active_users: ActiveUserLookup
    write_limits: WriteLimits
    metrics: ApiMetrics


class RequireRole(SecurityBase):
    """A dependency that requires an access token of an active user with one of the roles.

    Without `roles` every role may call the route. With `check_active=False` the route itself
    refuses users who were deactivated after their token was signed.

    This is one dependency instead of four, because each costs time in every request.
    """

    def __init__(self, *roles: str, check_active: bool = True) -> None:
        # FastAPI documents a dependency with these two attributes as a security scheme.
        self.model = HTTPBearerModel(
            bearerFormat="JWT", description="Access token that signing in returned"
        )
        self.scheme_name = "accessToken"
        self.roles = roles
        self._check_active = check_active

    async def __call__(self, request: Request) -> Identity:
        """Raises BadToken, ExpiredToken, TooMany, AccountInactive, Forbidden."""
        access: AccessControl = request.app.state.access
        identity = identity_of(request.scope)
        bind_user(request.scope, identity.user_id)
        # Counted before the database is asked, which a user over the limit shall not load.
        if request.method not in _READ_METHODS:
            access.write_limits.count(identity.user_id)
        if self._check_active and not await access.active_users.is_active(identity.user_id):
            raise AccountInactive
        if self.roles and identity.role not in self.roles:
            raise Forbidden
        access.metrics.active_users.seen(identity.user_id)
        return identity


def identity_of(scope: Scope) -> Identity:
    """Return the identity in a request's access token. Raises BadToken, ExpiredToken."""
    scheme, token = get_authorization_scheme_param(Headers(scope=scope).get("Authorization"))
    if scheme.lower() != "bearer":
        raise BadToken
    access: AccessControl = scope["app"].state.access
    return access.tokens.verify(token, now=real_now())


def user_id_of(scope: Scope) -> str | None:
    """Return the user's id in a request's access token, None without a valid one."""
    try:
        return str(identity_of(scope).user_id)
    except (BadToken, ExpiredToken):
        return None


def bind_user(scope: Scope, user_id: UserId) -> None:
    """Add the user to the log lines of a request, and count its body as the user's."""
    text = str(user_id)
    scope.setdefault("state", {})["user_id"] = text
    bind_contextvars(user_id=text)
