"""How much one user may have at a time.

Whoever adds something holds the lock of its owner from before it is counted until commit: of two
that add at once, one counts what the other added.
"""

from enum import StrEnum

from core.errors import QuotaExceeded


class Quota(StrEnum):
    """What is counted, as people are told of it."""

    DEVICES = "devices"
    OPEN_LISTINGS = "open listings"
    PAYMENT_METHODS = "payment methods"
    SESSIONS = "sessions"


def check(quota: Quota, *, had: int, at_most: int) -> None:
    """Whether there may be one more. Raises QuotaExceeded."""
    if had >= at_most:
        raise QuotaExceeded(what=quota, at_most=at_most)
