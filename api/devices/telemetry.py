"""Routes: what a device of the caller's measured."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from api.devices.service import own_device
from api.http import routing
from api.http.cursors import NEWEST_ID, OLDEST, IdPageQuery, PartBefore
from api.http.dependencies import ClockDep, CurrentUser, DevicePathId, ReadRoutingDep
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import Instant, ShownInstant, View
from core.errors import Invalid, NotFound
from core.ids import DeviceId
from core.readings import Reading
from db import telemetry
from db.devices import Device
from db.pool import Connection
from db.telemetry import Bucket, Counts, Slot, StoredRejection

router = routing.private("/devices/{device_id}", "devices")

_POINTS_MAX = 10_000
_INSTANT_BEFORE = timedelta(microseconds=1)


class TimeSpanQuery(BaseModel):
    """Oldest first; without `from`, the day before `to`; without `to`, up to now."""

    since: Annotated[Instant | None, Field(alias="from", examples=["2026-03-01T00:00:00Z"])] = None
    until: Annotated[
        Instant | None,
        Field(alias="to", description="Not included", examples=["2026-03-02T00:00:00Z"]),
    ] = None
    limit: Annotated[int, Field(ge=1, le=_POINTS_MAX, description="At most so many points")] = 1000
    cursor: Annotated[PartBefore, OLDEST.form] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise Invalid(field="to", allowed="must be after from")
        return self

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        """What is asked for, both ends excluded."""
        until = self.until or now
        since = self.since or until - timedelta(days=1)
        start = OLDEST.read(self.cursor) if self.cursor else since - _INSTANT_BEFORE
        return start, until


class TelemetrySpan(TimeSpanQuery):
    resolution: Literal["raw", "15m", "1h", "1d"] = "raw"


class ReadingView(View):
    """A reading as it came; null: the device did not say."""

    time: ShownInstant
    power_w: Annotated[float | None, Field(description="Positive: produced")]
    energy_wh: Annotated[float | None, Field(description="Counter: generated in total")]
    export_wh: Annotated[float | None, Field(description="Counter: fed into the grid in total")]
    import_wh: Annotated[float | None, Field(description="Counter: drawn from the grid in total")]
    load_w: float | None
    voltage_v: float | None
    current_a: float | None
    frequency_hz: float | None
    temperature_c: float | None
    battery_soc_pct: float | None


class BucketView(View):
    """The readings of one stretch of time."""

    time: Annotated[ShownInstant, Field(description="When it begins")]
    power_w: Annotated[float | None, Field(description="Mean")]
    power_max_w: float | None
    load_w: Annotated[float | None, Field(description="Mean")]
    energy_wh: Annotated[float | None, Field(description="Counter at its highest")]
    export_wh: Annotated[float | None, Field(description="Counter at its highest")]
    import_wh: Annotated[float | None, Field(description="Counter at its highest")]
    battery_soc_pct: Annotated[float | None, Field(description="Mean")]
    readings: int


class SlotView(View):
    """Energy of 15 minutes, as the accountant counted it."""

    slot_start: ShownInstant
    generated_wh: float
    surplus_wh: Annotated[float, Field(description="What may be sold, if measured or interpolated")]
    quality: Literal["measured", "interpolated", "estimated", "missing", "rejected"]
    reasons: list[str]


class LatestView(BaseModel):
    device_id: DeviceId
    status: Literal["pending", "online", "offline", "fault"]
    fault_code: str | None
    last_seen_at: ShownInstant | None
    reading: Annotated[ReadingView | None, Field(description="The last by measurement time")]


class RejectionView(BaseModel):
    id: int
    topic: str
    payload: Annotated[
        str,
        Field(
            description="The message's first 4 KiB; bytes that are no text as �;"
            " empty where an older refusal of the same message has it"
        ),
    ]
    reason: str
    time: Annotated[ShownInstant | None, Field(description="The measurement's, where it was told")]
    received_at: ShownInstant


class CountsView(View):
    """Readings since the device was registered: received = stored + duplicate + rejected."""

    received: Annotated[int, Field(description="All, and messages that can't be read")]
    stored: Annotated[int, Field(description="Taken, each measurement once")]
    duplicate: Annotated[int, Field(description="There already")]
    rejected: Annotated[int, Field(description="Refused, whether or not still on record")]


class Rejections(Page[RejectionView]):
    """The newest thousand are kept; all are counted."""

    readings: Annotated[CountsView, Field(description="What became of all it sent")]


@router.get("/latest", responses=answers(NotFound))
async def get_latest(
    reads: ReadRoutingDep, caller: CurrentUser, device_id: DevicePathId
) -> Answer[LatestView]:
    """The last reading by measurement time, and how the device is."""

    async def look(conn: Connection) -> tuple[Device, Reading | None]:
        device = await own_device(conn, caller, device_id)
        return device, await telemetry.latest(conn, device_id)

    device, reading = await reads.run(look)
    return ok(
        LatestView(
            device_id=device_id,
            status=device.status,
            fault_code=device.fault_code,
            last_seen_at=device.last_seen_at,
            reading=ReadingView.model_validate(reading) if reading else None,
        )
    )


@router.get("/telemetry", responses=answers(NotFound))
async def get_telemetry(
    reads: ReadRoutingDep,
    clock: ClockDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[TelemetrySpan, Query()],
) -> Answer[Page[ReadingView] | Page[BucketView]]:
    """Readings as they came (`raw`), or per 15 minutes, hour or day."""
    after, until = query.bounds(clock.now())
    limit = query.limit

    async def find(conn: Connection) -> Page[ReadingView] | Page[BucketView]:
        await own_device(conn, caller, device_id)
        if query.resolution == "raw":
            readings = await telemetry.raw(
                conn, device_id, after=after, until=until, limit=limit + 1
            )
            return OLDEST.page(readings, limit, key=_time, show=ReadingView.model_validate)
        buckets = await telemetry.buckets(
            conn, device_id, query.resolution, after=after, until=until, limit=limit + 1
        )
        return OLDEST.page(buckets, limit, key=_time, show=BucketView.model_validate)

    return ok(await reads.run(find))


@router.get("/energy", responses=answers(NotFound))
async def get_energy(
    reads: ReadRoutingDep,
    clock: ClockDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[TimeSpanQuery, Query()],
) -> Answer[Page[SlotView]]:
    """Energy per 15-minute slot, with its quality and what the meter did."""
    after, until = query.bounds(clock.now())

    async def find(conn: Connection) -> list[Slot]:
        await own_device(conn, caller, device_id)
        return await telemetry.energy(
            conn, device_id, after=after, until=until, limit=query.limit + 1
        )

    slots = await reads.run(find)
    return ok(
        OLDEST.page(
            slots, query.limit, key=lambda slot: slot.slot_start, show=SlotView.model_validate
        )
    )


@router.get("/rejections", responses=answers(NotFound))
async def get_rejections(
    reads: ReadRoutingDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[IdPageQuery, Query()],
) -> Answer[Rejections]:
    """Readings and payloads that were refused, and why, newest first."""
    before_id = NEWEST_ID.read(query.cursor)

    async def find(conn: Connection) -> tuple[list[StoredRejection], Counts]:
        await own_device(conn, caller, device_id)
        found = await telemetry.rejections(
            conn, device_id, before_id=before_id, limit=query.limit + 1
        )
        return found, await telemetry.counts(conn, device_id)

    found, counts = await reads.run(find)
    page = NEWEST_ID.page(found, query.limit, key=lambda refusal: refusal.id, show=_shown)
    return ok(Rejections(**dict(page), readings=CountsView.model_validate(counts)))


def _shown(refusal: StoredRejection) -> RejectionView:
    return RejectionView(
        id=refusal.id,
        topic=refusal.topic,
        payload=refusal.payload.decode(errors="replace"),
        reason=refusal.reason,
        time=refusal.time,
        received_at=refusal.received_at,
    )


def _time(point: Reading | Bucket) -> datetime:
    assert point.time is not None
    return point.time
