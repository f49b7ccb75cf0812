"""Which part of a recording is replayed, by what its clocks showed."""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

Chosen = Callable[[datetime], bool]

_DAY_OF_ANY_YEAR = re.compile(r"(\d\d)-(\d\d)")


def everything(_: datetime) -> bool:
    return True


def day(text: str) -> Chosen:
    """`YYYY-MM-DD`, or `MM-DD` of whatever year a device was recorded in. Raises ValueError."""
    match = _DAY_OF_ANY_YEAR.fullmatch(text)
    if match is None:
        begins = datetime.combine(date.fromisoformat(text), datetime.min.time())
        return between(begins, begins + timedelta(days=1))
    wanted = date(2000, int(match[1]), int(match[2]))  # a leap year
    return lambda shown: (shown.month, shown.day) == (wanted.month, wanted.day)


def between(begins: datetime | None, ends: datetime | None) -> Chosen:
    """From `begins` on, and before `ends`."""
    return lambda shown: (begins is None or begins <= shown) and (ends is None or shown < ends)
