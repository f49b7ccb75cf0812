"""The accountant's accounts as JSON; instants as whole microseconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Any

from core.accountant import Account
from core.counters import Counter, Suspect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)

Json = dict[str, Any]


def to_json(account: Account) -> Json:
    return {
        "last_at": _ticks(account.last_at),
        "energy": account.energy and _counter_to_json(account.energy),
        "export": account.export and _counter_to_json(account.export),
        "power_w": account.power_w,
    }


def from_json(value: Json) -> Account:
    return Account(
        last_at=_instant(value["last_at"]),
        energy=_counter_from_json(value["energy"]) if value["energy"] else None,
        export=_counter_from_json(value["export"]) if value["export"] else None,
        power_w=value["power_w"],
    )


def _counter_to_json(counter: Counter) -> Json:
    value: Json = {
        "at": _ticks(counter.at),
        "mark_mwh": counter.mark_mwh,
        "marked_at": _ticks(counter.marked_at),
    }
    if counter.suspect is not None:
        value["suspect"] = {
            "level_mwh": counter.suspect.level_mwh,
            "at": _ticks(counter.suspect.at),
            "readings": counter.suspect.readings,
        }
    if counter.earned_mwh is not None:
        value["earned_mwh"] = counter.earned_mwh
    if counter.unshown_mwh:
        value["unshown_mwh"] = counter.unshown_mwh
    if counter.stalled_at is not None:
        value["stalled_at"] = _ticks(counter.stalled_at)
    return value


def _counter_from_json(value: Json) -> Counter:
    suspect, stalled_at = value.get("suspect"), value.get("stalled_at")
    return Counter(
        at=_instant(value["at"]),
        mark_mwh=value["mark_mwh"],
        marked_at=_instant(value["marked_at"]),
        suspect=suspect
        and Suspect(suspect["level_mwh"], _instant(suspect["at"]), suspect["readings"]),
        earned_mwh=value.get("earned_mwh"),
        unshown_mwh=value.get("unshown_mwh", 0),
        stalled_at=None if stalled_at is None else _instant(stalled_at),
    )


def _ticks(at: datetime) -> int:
    return (at - _EPOCH) // _TICK


def _instant(ticks: int) -> datetime:
    return _EPOCH + ticks * _TICK
