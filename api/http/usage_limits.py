"""Limits on the usage of the API: attempts to sign in, changes of a user, things that a user has.

Attempts to sign in are counted in Redis, so that all API processes count together. Changes are
counted in each process, so that a request does not wait for Redis. Things are counted in the
database. The sizes of requests have limits of their own, in `body_limits` and `connection_limits`.
"""

import asyncio
import hmac
import math
import time
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

import structlog
from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter

from api.http.redis import REDIS_ERRORS, Client
from core.clock import real_now
from core.errors import QuotaExceeded, TooMany
from core.ids import UserId
from core.settings import ApiSettings

# A sign-in waits at most this long for Redis, and then continues uncounted.
_REDIS_TIMEOUT_S = 0.5
# Each call holds a connection. Many requests at once would each wait for a new connection.
_CONCURRENT_CALLS_MAX = 4
# While Redis is unavailable it is not called for this long, so that requests do not wait for it.
_REDIS_PAUSE_S = 5.0
_WARNING_INTERVAL_S = 10.0
_KEY_PREFIX = "solarhub:limits"
# A home has one address of IPv4, but a whole /64 network of IPv6.
_IPV6_HOME_PREFIX_BITS = 64
_CACHED_ADDRESSES_MAX = 4096
# Users that `WriteLimits` remembers before it forgets those whose limit is unused.
_REMEMBERED_USERS = 10_000

_log = structlog.get_logger()


# Attempts to sign in ---------------------------------------------------------------------------


class SignInLimits:
    """Limits on attempts to sign in, in moving windows per account and per address.

    Every attempt counts, with either outcome. A refused one does not: a client that waits for as
    long as `Retry-After` says is accepted. Redis holds neither emails nor addresses, but keyed
    hashes of them.

    Without Redis (`redis` is None, or it is unavailable) every attempt is let through, with a
    warning in the log.
    """

    def __init__(
        self, settings: ApiSettings, redis: Client | None, *, pause_s: float = _REDIS_PAUSE_S
    ) -> None:
        self._per_account = _parsed(settings.rate_limit_login)
        self._per_address = _parsed(settings.sign_ins_per_address)
        self._secret = settings.jwt_secret.get_secret_value().encode()
        self._windows = _RedisWindows(redis, pause_s) if redis is not None else None

    async def sign_in(self, route: str, *, host: str, email: str) -> None:
        """Count an attempt from an address with an email. Raises TooMany."""
        # The address first: an address over its limit must not use up the limit of an email.
        await self._count(self._per_address, "address", network_of(host))
        await self._count(self._per_account, route, email.lower())

    async def password_change(self, user_id: UserId) -> None:
        """Count an attempt to confirm the current password. Raises TooMany."""
        await self._count(self._per_account, "change-password", str(user_id))

    async def _count(self, limits: list[RateLimitItem], kind: str, subject: str) -> None:
        if self._windows is None:
            return
        hashed = hmac.digest(self._secret, subject.encode(errors="replace"), "sha256").hex()
        for limit in limits:
            retry_after_s = await self._windows.count(limit, kind, hashed)
            if retry_after_s is not None:
                raise TooMany(retry_after_s=retry_after_s)


class _RedisWindows:
    """Moving windows in Redis, which lets every attempt through while Redis is unavailable."""

    def __init__(self, redis: Client, pause_s: float) -> None:
        self._limiter = MovingWindowRateLimiter(_SharedClientStorage(redis))
        self._calls = asyncio.Semaphore(_CONCURRENT_CALLS_MAX)
        self._pause_s = pause_s
        self._unavailable = False
        self._paused_until = -math.inf
        self._no_warning_until = -math.inf

    async def count(self, limit: RateLimitItem, *key: str) -> int | None:
        """Count an attempt, within half a second.

        Returns None if it was counted or Redis is unavailable. Otherwise nothing was counted, and
        the next attempt is possible after the returned number of seconds.
        """
        if self._is_paused():
            return None
        try:
            async with asyncio.timeout(_REDIS_TIMEOUT_S), self._calls:
                allowed = await self._limiter.hit(limit, *key)
                window = None if allowed else await self._limiter.get_window_stats(limit, *key)
        except REDIS_ERRORS as error:
            self._pause(error)
            return None
        self._unavailable = False
        if window is None:
            return None
        return max(1, math.ceil(window.reset_time - real_now().timestamp()))

    def _is_paused(self) -> bool:
        now = time.monotonic()
        if now < self._paused_until:
            return True
        if self._unavailable:
            # One request tries whether Redis is back. The others do not wait for it meanwhile.
            self._paused_until = now + _REDIS_TIMEOUT_S
        return False

    def _pause(self, error: Exception) -> None:
        now = time.monotonic()
        self._unavailable, self._paused_until = True, now + self._pause_s
        if now >= self._no_warning_until:
            self._no_warning_until = now + _WARNING_INTERVAL_S
            _log.warning("rate_limits_not_counted", error=repr(error))


class _SharedClientStorage(RedisStorage):
    """The storage of `limits` on a client that is open already, of a server or of a cluster."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        # Only the scheme of this URL is used: `configure_bridge` replaces the connection.
        super().__init__("async+redis://", implementation="redispy", key_prefix=_KEY_PREFIX)

    def configure_bridge(self) -> None:
        assert isinstance(self.bridge, RedispyBridge)
        self.bridge.connection_getter = lambda _: self._redis  # type: ignore[assignment,return-value]


@lru_cache(_CACHED_ADDRESSES_MAX)
def network_of(host: str) -> str:
    """Return the network that counts as one address: an IPv4 address, or a /64 of IPv6."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address), _IPV6_HOME_PREFIX_BITS), strict=False))
    return str(address)


def _parsed(limits: str) -> list[RateLimitItem]:
    return [] if limits == "off" else parse_many(limits)


# Changes ---------------------------------------------------------------------------------------


class WriteLimits:
    """Limits on the changes of each user, by the generic cell rate algorithm.

    A limit of `n` in a period lets `n` changes through at once, and then one every period / `n`
    (ITU-T I.371, annex A).
    `limits` is the setting's text, such as `2/second;3/hour`, or `off`.
    """

    def __init__(self, limits: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._limits = [_CellRate(each.amount, each.get_expiry()) for each in _parsed(limits)]

    def count(self, user_id: UserId) -> None:
        """Count a change that a user is about to make. Raises TooMany."""
        now = self._monotonic()
        for limit in self._limits:
            wait_s = limit.count(user_id, now)
            if wait_s > 0:
                raise TooMany(retry_after_s=math.ceil(wait_s))


class _CellRate:
    def __init__(self, amount: int, period_s: float) -> None:
        self._interval_s = period_s / amount
        self._burst_s = period_s - self._interval_s
        # The theoretical arrival time of each user's next change. A user who is missing here has
        # the whole burst.
        self._due_at: dict[UserId, float] = {}
        self._forget_above = _REMEMBERED_USERS

    def count(self, user_id: UserId, now: float) -> float:
        """Count a change and return 0, or return the seconds to wait without counting."""
        due_at = max(self._due_at.get(user_id, now), now)
        if due_at - now > self._burst_s:
            return due_at - now - self._burst_s
        self._due_at[user_id] = due_at + self._interval_s
        if len(self._due_at) > self._forget_above:
            self._forget_idle(now)
        return 0.0

    def _forget_idle(self, now: float) -> None:
        """Forget users who have the whole burst again, so that the number of users is bounded.

        The next run is at twice the users that remain: each change costs constant time on average.
        """
        self._due_at = {user: at for user, at in self._due_at.items() if at > now}
        self._forget_above = max(_REMEMBERED_USERS, 2 * len(self._due_at))


# Things ----------------------------------------------------------------------------------------


class Quota(StrEnum):
    """Things of which a user may have a limited number, as error texts name them."""

    DEVICES = "devices"
    OPEN_LISTINGS = "open listings"
    PAYMENT_METHODS = "payment methods"
    SESSIONS = "sessions"


def check_quota(quota: Quota, *, had: int, at_most: int) -> None:
    """Check that a user may have one more. Raises QuotaExceeded.

    The caller locks the owner before it counts, and holds the lock until commit. Otherwise two
    concurrent additions would both count the same number and exceed the quota.
    """
    if had >= at_most:
        raise QuotaExceeded(what=quota, at_most=at_most)
