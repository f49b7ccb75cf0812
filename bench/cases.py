"""The cases by name, and the programs that each needs."""

from collections.abc import Mapping, Sequence
from enum import StrEnum


class Case(StrEnum):
    """A case of `solarhub bench`, as named on the command line."""

    INGEST = "ingest"
    INGEST_BATCHED = "ingest-batched"
    PURCHASE = "purchase"
    PURCHASE_HOT = "purchase-hot"
    NEARBY = "nearby"
    LISTINGS = "listings"
    FANOUT = "fanout"
    LATENCY = "latency"
    LATE = "late"
    MEMORY = "memory"
    SCALE = "scale"
    CONTROL_ROOM = "control-room"


REQUIRED_PROGRAMS: Mapping[Case, Sequence[str]] = {
    Case.INGEST: ("mosquitto",),
    Case.INGEST_BATCHED: ("mosquitto",),
    Case.PURCHASE: ("wrk",),
    Case.PURCHASE_HOT: ("wrk",),
    Case.NEARBY: ("wrk",),
    Case.LISTINGS: ("wrk",),
    Case.LATE: ("mosquitto",),
    Case.MEMORY: ("mosquitto",),
    Case.SCALE: ("mosquitto", "wrk"),
    Case.CONTROL_ROOM: ("chromium",),
}
