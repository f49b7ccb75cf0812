"""How often a user may change anything, counted in this process: a request is not to wait for it.

Each limit lets as many through at once as it allows in its time, and then one after the other,
evenly (the generic cell rate algorithm, ITU-T I.371, annex A): one number is kept of each user.
"""

import math
import time
from collections.abc import Callable

from limits import parse_many

from core.errors import TooMany
from core.ids import UserId

_USERS_KEPT = 10_000


class WriteLimits:
    """`limits`: as the setting has them, or `off`."""

    def __init__(self, limits: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        parsed = [] if limits == "off" else parse_many(limits)
        self._limits = [_Limit(one.amount, one.get_expiry()) for one in parsed]

    def count(self, user_id: UserId) -> None:
        """Count a change that a user is about to make. Raises TooMany."""
        now = self._monotonic()
        for limit in self._limits:
            wait_s = limit.count(user_id, now)
            if wait_s > 0:
                raise TooMany(retry_after_s=math.ceil(wait_s))


class _Limit:
    def __init__(self, amount: int, period_s: float) -> None:
        self._interval_s = period_s / amount
        self._burst_s = period_s - self._interval_s
        # When each user's next change is due, had they come evenly; who is not here, has all.
        self._due_at: dict[UserId, float] = {}
        self._tidy_at = _USERS_KEPT

    def count(self, user_id: UserId, now: float) -> float:
        """How many seconds are to be waited; 0: it counted."""
        due_at = max(self._due_at.get(user_id, now), now)
        if due_at - now > self._burst_s:
            return due_at - now - self._burst_s
        self._due_at[user_id] = due_at + self._interval_s
        if len(self._due_at) > self._tidy_at:
            self._tidy(now)
        return 0.0

    def _tidy(self, now: float) -> None:
        """Forget who has all again. Twice as many as are left may come before the next time."""
        self._due_at = {user: at for user, at in self._due_at.items() if at > now}
        self._tidy_at = max(_USERS_KEPT, 2 * len(self._due_at))
