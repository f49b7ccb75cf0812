"""Delays between the attempts of a retry loop."""

from collections.abc import Callable


def _no_jitter() -> float:
    return 1.0


class Backoff:
    """The delay before the next attempt: it doubles with each one, up to a maximum.

    `jitter` returns a factor for each delay, so that many clients do not retry at once. A caller
    sleeps for `next_s()` after each attempt.
    """

    def __init__(
        self, first_s: float, max_s: float, *, jitter: Callable[[], float] = _no_jitter
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._jitter = jitter
        # The next delay without jitter, as log events report it. A caller that knows better may
        # set it for one attempt, also above the maximum.
        self.delay_s = first_s

    def next_s(self) -> float:
        """Return how long to sleep now, and double the delay."""
        delay_s = self.delay_s
        self.delay_s = min(2 * delay_s, self._max_s)
        return delay_s * self._jitter()

    def reset(self) -> None:
        """Return to the first delay: the last attempt succeeded for long enough."""
        self.delay_s = self._first_s
