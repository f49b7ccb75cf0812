"""The hub's REST contract, as a client sees it: envelope, refusals, tokens that are renewed.

A client waits where the hub asks it to (`Retry-After`), and asks again when an answer got lost,
provided that asking twice does no harm: a GET, or a request with an `Idempotency-Key`. Where many
sign in from one address, they take their turns.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx

_TIMEOUT_S = 30.0
_TRIES = 5
_RETRY_FIRST_S = 0.2
_RETRY_AFTER_MAX_S = 60.0
_TURN_MAX_S = 600.0
_TOO_MANY = 429
_RENEW_AHEAD_S = 90.0  # the feed asks for a new token a minute ahead
_KEPT_OPEN_S = 2.0


class HubClientError(Exception):
    """The hub did not do what was asked; the message says why."""


class Unreachable(HubClientError):
    """No answer came."""


class HubRefusal(HubClientError):
    """The hub said no. `code` is stable, the message is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status
        self.code = code


@dataclass(slots=True)
class HubClient:
    """Speaks to one hub for any number of people."""

    http: httpx.AsyncClient

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """The answer's `data`. Raises Refused, Unreachable."""
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        request = self.http.build_request(method, path, json=json, params=params, headers=headers)
        return _data(await self._in_turn(request))

    async def _in_turn(self, request: httpx.Request) -> httpx.Response:
        """The answer, once it is our turn: the hub may have us wait again."""
        give_up_at = monotonic() + _TURN_MAX_S
        while True:
            response = await self._answer(request)
            if response.status_code != _TOO_MANY or monotonic() >= give_up_at:
                return response
            await asyncio.sleep(_asked_pause_s(response))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        repeatable = request.method == "GET" or "Idempotency-Key" in request.headers
        for attempt in range(_TRIES):
            pause_s = _RETRY_FIRST_S * 2**attempt
            last = attempt == _TRIES - 1
            try:
                response = await self.http.send(request)
            except httpx.TransportError as error:
                refused = isinstance(error, httpx.ConnectError)
                if last or not (repeatable or refused):
                    raise _unreachable(request, error) from error
            else:
                told = "Retry-After" in response.headers
                if last or not told or response.status_code == _TOO_MANY:
                    return response
                pause_s = _asked_pause_s(response)
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")


def _asked_pause_s(response: httpx.Response) -> float:
    return min(float(response.headers.get("Retry-After", "1")), _RETRY_AFTER_MAX_S)


def _unreachable(request: httpx.Request, error: httpx.TransportError) -> Unreachable:
    url = request.url
    return Unreachable(f"no hub answers at {url.host}:{url.port} ({type(error).__name__})")


def _data(response: httpx.Response) -> Any:
    try:
        envelope = response.json()
        if response.is_success:
            return envelope["data"]
        raise HubRefusal(response.status_code, envelope["error"]["code"], envelope["message"])
    except (ValueError, KeyError, TypeError) as error:
        told = f"{response.request.url} answered {response.status_code} outside the envelope"
        raise HubClientError(told) from error


@asynccontextmanager
async def open_hub(api_url: str, *, connections: int = 32) -> AsyncIterator[HubClient]:
    """A client of the hub at `api_url` (without `/api/v1`)."""
    # A server hangs up after five seconds of silence: whoever writes at that very moment is lost.
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=_KEPT_OPEN_S,
    )
    # Waiting for a free connection may take long when thousands register: no limit on that.
    timeout = httpx.Timeout(_TIMEOUT_S, pool=None)
    async with httpx.AsyncClient(
        base_url=f"{api_url}/api/v1/", limits=limits, timeout=timeout
    ) as http:
        yield HubClient(http)


@dataclass(frozen=True, slots=True)
class UserAccount:
    """How someone signs in."""

    email: str
    password: str
    full_name: str
    role: str


def invent_account(name: str, role: str) -> UserAccount:
    """A new person, whose email nobody has yet."""
    tag = uuid4().hex[:12]
    return UserAccount(f"{role}-{tag}@example.com", uuid4().hex, name, role)


@dataclass(slots=True)
class HubSession:
    """Someone who is signed in. Access tokens are renewed before they expire."""

    hub: HubClient
    user_id: str
    access_token: str
    _refresh_token: str
    _renew_at: float
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def register(cls, hub: HubClient, account: UserAccount) -> "HubSession":
        body = {
            "email": account.email,
            "password": account.password,
            "full_name": account.full_name,
            "role": account.role,
        }
        return cls._of(hub, await hub.call("POST", "auth/register", json=body))

    @classmethod
    async def sign_in(cls, hub: HubClient, account: UserAccount) -> "HubSession":
        body = {"email": account.email, "password": account.password}
        return cls._of(hub, await hub.call("POST", "auth/login", json=body))

    @classmethod
    def _of(cls, hub: HubClient, data: Mapping[str, Any]) -> "HubSession":
        return cls(
            hub, data["user"]["id"], data["access_token"], data["refresh_token"],
            _renew_at(data["expires_in"]),
        )  # fmt: skip

    async def token(self) -> str:
        """An access token that is good for a while."""
        async with self._renewing:
            if monotonic() >= self._renew_at:
                body = {"refresh_token": self._refresh_token}
                data = await self.hub.call("POST", "auth/refresh", json=body)
                self.access_token = data["access_token"]
                self._refresh_token = data["refresh_token"]
                self._renew_at = _renew_at(data["expires_in"])
            return self.access_token

    async def get(self, path: str, **params: Any) -> Any:
        return await self.hub.call("GET", path, token=await self.token(), params=params)

    async def post(
        self, path: str, body: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Any:
        return await self.hub.call(
            "POST", path, token=await self.token(), json=body, idempotency_key=idempotency_key
        )

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self.hub.call("PATCH", path, token=await self.token(), json=body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self.hub.call("PUT", path, token=await self.token(), json=body)


def _renew_at(expires_in_s: float) -> float:
    """Some time ahead, but never at once: a short-lived token is still used for half its life."""
    return monotonic() + max(expires_in_s - _RENEW_AHEAD_S, expires_in_s / 2)
