"""A client of the hub's REST API: addresses, envelope, refusals, retries, renewed tokens.

The client honours `Retry-After`. It repeats a request after a lost response only if that is safe:
a GET, or a request with an `Idempotency-Key`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from core.retry import Backoff
from core.settings import SettingError, variable

# Thousands of homes register at once, on a machine that their hub may share with them.
_TIMEOUT_S = 60.0
_ATTEMPTS = 5
_RETRY_FIRST_S = 0.2
_RETRY_MAX_S = 1.6
_RETRY_AFTER_MAX_S = 60.0
# Total time that a rate-limited request is retried: many users may sign in from one address.
_RATE_LIMITED_MAX_S = 600.0
_TOO_MANY_REQUESTS = 429
# The feed asks for a new token 60 s before expiry; the renewed token must be there by then.
_RENEW_AHEAD_S = 90.0
# Shorter than the 5 s after which the server closes an idle connection: a request that is sent at
# that moment would be lost.
_KEEPALIVE_S = 2.0


class HubClientError(Exception):
    """The hub did not do what was asked; the message says why."""


class HubUnreachable(HubClientError):
    """The hub did not respond."""


class HubRefusal(HubClientError):
    """The hub refused a request. `code` is stable, the message is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Address of an MQTT broker, without credentials: each device has its own."""

    host: str
    port: int
    secure: bool = False
    ca_file: str | None = None

    @classmethod
    def of(cls, url: str, ca_file: str | None = None) -> "BrokerAddress":
        """Parse an `mqtt://` or `mqtts://` URL; `ca_file` replaces the system's certificates."""
        parts = urlsplit(url)
        secure = parts.scheme == "mqtts"
        port = parts.port or (8883 if secure else 1883)
        return cls(parts.hostname or "127.0.0.1", port, secure, ca_file)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return a context that trusts the certificates, None without TLS.

        Raises SettingError for an unusable file.
        """
        if not self.secure:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise SettingError(f"{variable('mqtt_ca_file')}: can't be used: {reason}") from None


@dataclass(frozen=True, slots=True)
class UserAccount:
    """Credentials and profile of a simulated user."""

    email: str
    password: str
    full_name: str
    role: str


@dataclass(frozen=True, slots=True)
class HubAddresses:
    """Addresses of one hub, and its administrator's sign-in if the simulator may use it."""

    api_url: str
    # None: the hub's API returns the address.
    broker: BrokerAddress | None = None
    feed_url: str | None = None
    administrator: UserAccount | None = None


def invent_account(name: str, role: str) -> UserAccount:
    """Return a new user with a random email address and password."""
    tag = uuid4().hex[:12]
    return UserAccount(f"{role}-{tag}@example.com", uuid4().hex, name, role)


@dataclass(slots=True)
class HubClient:
    """Sends requests of any number of users to one hub."""

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
        """Return the response's `data`. Raises HubRefusal, HubUnreachable, HubClientError."""
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        request = self.http.build_request(method, path, json=json, params=params, headers=headers)
        return _data(await self._send_within_rate_limit(request))

    async def _send_within_rate_limit(self, request: httpx.Request) -> httpx.Response:
        """Send until the response is not 429; return it after _RATE_LIMITED_MAX_S all the same."""
        give_up_at = monotonic() + _RATE_LIMITED_MAX_S
        while True:
            response = await self._send(request)
            if response.status_code != _TOO_MANY_REQUESTS or monotonic() >= give_up_at:
                return response
            await asyncio.sleep(_retry_after_s(response))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send with retries: after a lost connection if that is safe, and on `Retry-After`."""
        repeatable = request.method == "GET" or "Idempotency-Key" in request.headers
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MAX_S)
        for attempt in range(_ATTEMPTS):
            pause_s = backoff.next_s()
            last = attempt == _ATTEMPTS - 1
            try:
                response = await self.http.send(request)
            except httpx.TransportError as error:
                # Without a connection the request was never sent: any request is safe to repeat.
                not_sent = isinstance(error, httpx.ConnectError)
                if last or not (repeatable or not_sent):
                    raise _unreachable(request, error) from error
            else:
                retry = "Retry-After" in response.headers
                if last or not retry or response.status_code == _TOO_MANY_REQUESTS:
                    return response
                pause_s = _retry_after_s(response)
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")


def _retry_after_s(response: httpx.Response) -> float:
    return min(float(response.headers.get("Retry-After", "1")), _RETRY_AFTER_MAX_S)


def _unreachable(request: httpx.Request, error: httpx.TransportError) -> HubUnreachable:
    url = request.url
    return HubUnreachable(f"no hub responds at {url.host}:{url.port} ({type(error).__name__})")


def _data(response: httpx.Response) -> Any:
    try:
        envelope = response.json()
        if response.is_success:
            return envelope["data"]
        raise HubRefusal(response.status_code, envelope["error"]["code"], envelope["message"])
    except (ValueError, KeyError, TypeError) as error:
        raise HubClientError(
            f"{response.request.url} responded with {response.status_code} and no envelope"
        ) from error


@asynccontextmanager
async def open_hub(api_url: str, *, connections: int = 32) -> AsyncIterator[HubClient]:
    """Open a client of the hub at `api_url` (without `/api/v1`)."""
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=_KEEPALIVE_S,
    )
    # No timeout for a free connection: that wait is long when thousands of users register.
    timeout = httpx.Timeout(_TIMEOUT_S, pool=None)
    async with httpx.AsyncClient(
        base_url=f"{api_url}/api/v1/", limits=limits, timeout=timeout
    ) as http:
        yield HubClient(http)


@dataclass(slots=True)
class HubSession:
    """A signed-in user. Access tokens are renewed before they expire."""

    hub: HubClient
    user_id: str
    access_token: str
    _refresh_token: str
    _renew_at: float
    # A refresh token is valid once: concurrent requests must not renew twice.
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
        """Return an access token that does not expire soon."""
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
    """Return when to renew a token: _RENEW_AHEAD_S before expiry, but not before half its life.

    A token that lives for less than _RENEW_AHEAD_S would otherwise be renewed at every call.
    """
    return monotonic() + max(expires_in_s - _RENEW_AHEAD_S, expires_in_s / 2)
