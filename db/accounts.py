"""The accountant's accounts as compact JSON: arrays, instants as microseconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Any

from core.accountant import Account, Counter, Suspect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


def to_json(account: Account) -> list[Any]:
    return [
        _ticks(account.last_at),
        _counter_to_json(account.energy),
        _counter_to_json(account.export),
        account.power_w,
    ]


def from_json(value: list[Any]) -> Account:
    last_at, energy, export, power_w = value
    return Account(
        _instant(last_at),
        _counter_from_json(energy),
        _counter_from_json(export),
        power_w,
    )


def _ticks(at: datetime) -> int:
    return (at - _EPOCH) // _TICK


def _instant(ticks: int) -> datetime:
    return _EPOCH + ticks * _TICK


def _counter_to_json(counter: Counter | None) -> list[Any] | None:
    if counter is None:
        return None
    suspect = counter.suspect
    return [
        _ticks(counter.at),
        counter.mark_mwh,
        _ticks(counter.marked_at),
        suspect and [suspect.level_mwh, _ticks(suspect.at), suspect.readings],
    ]


def _counter_from_json(value: list[Any] | None) -> Counter | None:
    if value is None:
        return None
    at, mark_mwh, marked_at, suspect = value
    return Counter(
        _instant(at),
        mark_mwh,
        _instant(marked_at),
        Suspect(suspect[0], _instant(suspect[1]), suspect[2]) if suspect else None,
    )
