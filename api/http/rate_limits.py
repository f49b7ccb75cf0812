"""How often one may try to sign in: counted in Redis, so that all API processes count together.

Every attempt counts, whatever comes of it, in a moving window of its account and one of its
address; one that is refused does not: who waits for as long as told gets in. Redis holds neither
emails nor addresses, but keyed hashes of them.

Redis away or slow: everybody is let in, with a warning in the log. It is then left alone for a
while, in which nobody waits for it.
"""

import asyncio
import hmac
import math
import time
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

import structlog
from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter

from api.http.redis import REDIS_ERRORS, Client
from core.errors import TooMany
from core.ids import UserId
from core.settings import ApiSettings

_ANSWER_MAX_S = 0.5
# Each is a connection; a crowd that opened one each at once would wait for that.
_CALLS_AT_ONCE = 4
_REST_S = 5.0
_WARN_EVERY_S = 10.0
_KEY_PREFIX = "solarhub:limits"
_IPV6_HOME_BITS = 64
_ADDRESSES = 4096

_log = structlog.get_logger()


class RateLimits:
    """`redis` None: there is nothing to count in, and no limit."""

    def __init__(
        self, settings: ApiSettings, redis: Client | None, *, rest_s: float = _REST_S
    ) -> None:
        self._per_account = _parsed(settings.rate_limit_login)
        self._per_address = _parsed(settings.sign_ins_per_address)
        self._secret = settings.jwt_secret.get_secret_value().encode()
        self._counters = _Counters(redis, rest_s) if redis is not None else None

    async def sign_in(self, route: str, *, host: str, email: str) -> None:
        """Count an attempt of an address, on an email. Raises TooMany."""
        # The address first: who is over its limit does not use up that of somebody's email.
        await self._count(self._per_address, "address", network_of(host))
        await self._count(self._per_account, route, email.lower())

    async def password_change(self, user_id: UserId) -> None:
        """Count an attempt to name one's password. Raises TooMany."""
        await self._count(self._per_account, "change-password", str(user_id))

    async def _count(self, limits: list[RateLimitItem], kind: str, who: str) -> None:
        if self._counters is None:
            return
        hashed = hmac.digest(self._secret, who.encode(errors="replace"), "sha256").hex()
        for limit in limits:
            retry_after_s = await self._counters.count(limit, kind, hashed)
            if retry_after_s is not None:
                raise TooMany(retry_after_s=retry_after_s)


class _Counters:
    """Counters in Redis, and patience with it when it is away."""

    def __init__(self, redis: Client, rest_s: float) -> None:
        self._windows = MovingWindowRateLimiter(_Storage(redis))
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._rest_s = rest_s
        self._away = False
        self._rests_until = -math.inf
        self._warns_from = -math.inf

    async def count(self, limit: RateLimitItem, *key: str) -> int | None:
        """None: it counted, or could not. Else nothing did, and so many seconds are to be waited.

        Takes half a second at most.
        """
        if self._rests():
            return None
        try:
            async with asyncio.timeout(_ANSWER_MAX_S), self._calls:
                allowed = await self._windows.hit(limit, *key)
                window = None if allowed else await self._windows.get_window_stats(limit, *key)
        except REDIS_ERRORS as error:
            self._give_up(error)
            return None
        self._away = False
        if window is None:
            return None
        return max(1, math.ceil(window.reset_time - time.time()))

    def _rests(self) -> bool:
        now = time.monotonic()
        if now < self._rests_until:
            return True
        if self._away:
            # One request finds out whether it is back; the others go on meanwhile.
            self._rests_until = now + _ANSWER_MAX_S
        return False

    def _give_up(self, error: Exception) -> None:
        now = time.monotonic()
        self._away, self._rests_until = True, now + self._rest_s
        if now >= self._warns_from:
            self._warns_from = now + _WARN_EVERY_S
            _log.warning("rate_limits_not_counted", error=repr(error))


class _Storage(RedisStorage):
    """Counts by a client that is there already, of a server or of a cluster."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis
        # Of the URL nothing counts but the protocol.
        super().__init__("async+redis://", implementation="redispy", key_prefix=_KEY_PREFIX)

    def configure_bridge(self) -> None:
        assert isinstance(self.bridge, RedispyBridge)
        self.bridge.connection_getter = lambda _: self._redis  # type: ignore[assignment,return-value]


@lru_cache(_ADDRESSES)
def network_of(host: str) -> str:
    """Whose address it is: a home has one of IPv4, but 2^64 of IPv6."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((int(address), _IPV6_HOME_BITS), strict=False))
    return str(address)


def _parsed(limits: str) -> list[RateLimitItem]:
    return [] if limits == "off" else parse_many(limits)
