"""Routes of a device's readings, energy and rejections."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from api.devices.service import own_device
from api.devices.views import DeviceStatus
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
# Cursors exclude their instant, `from` includes it.
_SMALLEST_STEP = timedelta(microseconds=1)


class TimeSpanQuery(BaseModel):
    """A span of time, oldest first. `from` is one day before `to` by default, and `to` is now."""

    since: Annotated[
        Instant | None,
        Field(
            alias="from",
            description="Start of the span, included; by default one day before `to`",
            examples=["2026-03-01T00:00:00Z"],
        ),
    ] = None
    until: Annotated[
        Instant | None,
        Field(
            alias="to",
            description="End of the span, not included; by default now",
            examples=["2026-03-02T00:00:00Z"],
        ),
    ] = None
    limit: Annotated[
        int, Field(ge=1, le=_POINTS_MAX, description="Largest number of points in the page")
    ] = 1000
    cursor: Annotated[PartBefore, OLDEST.form] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise Invalid(field="to", allowed="must be after from")
        return self

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        """Return start and end of the page, both not included."""
        until = self.until or now
        since = self.since or until - timedelta(days=1)
        start = OLDEST.read(self.cursor) if self.cursor else since - _SMALLEST_STEP
        return start, until


class TelemetryQuery(TimeSpanQuery):
    resolution: Annotated[
        Literal["raw", "15m", "1h", "1d"],
        Field(description="`raw`: readings as received; else one point for each stretch of time"),
    ] = "raw"


class ReadingView(View):
    """A reading as received. null: the device did not report the value."""

    time: Annotated[ShownInstant, Field(description="Time of the measurement")]
    power_w: Annotated[
        float | None, Field(description="Power in W; positive: produced, negative: consumed")
    ]
    energy_wh: Annotated[float | None, Field(description="Counter of the energy produced, in Wh")]
    export_wh: Annotated[
        float | None, Field(description="Counter of the energy fed into the grid, in Wh")
    ]
    import_wh: Annotated[
        float | None, Field(description="Counter of the energy drawn from the grid, in Wh")
    ]
    load_w: float | None
    voltage_v: float | None
    current_a: float | None
    frequency_hz: float | None
    temperature_c: float | None
    battery_soc_pct: float | None


class TelemetryBucketView(View):
    """The readings of a stretch of time. null: the device did not report the value."""

    time: Annotated[ShownInstant, Field(description="Start of the stretch of time")]
    power_w: Annotated[float | None, Field(description="Mean power in W")]
    power_max_w: Annotated[float | None, Field(description="Highest power in W")]
    load_w: Annotated[float | None, Field(description="Mean power of the household in W")]
    energy_wh: Annotated[
        float | None, Field(description="Highest value of the counter of energy produced, in Wh")
    ]
    export_wh: Annotated[
        float | None, Field(description="Highest value of the counter of energy exported, in Wh")
    ]
    import_wh: Annotated[
        float | None, Field(description="Highest value of the counter of energy imported, in Wh")
    ]
    battery_soc_pct: Annotated[
        float | None, Field(description="Mean state of charge of the battery, 0–100 %")
    ]
    readings: Annotated[int, Field(description="Number of readings in the stretch of time")]


class TelemetryResponse(Answer[Page[ReadingView] | Page[TelemetryBucketView]]):
    """A page of readings, or of stretches of time, as `resolution` asks."""


class IntervalView(View):
    """The energy of a 15-minute slot as interval accounting counted it."""

    slot_start: ShownInstant
    generated_wh: Annotated[float, Field(description="Energy produced in the slot, in Wh")]
    surplus_wh: Annotated[
        float,
        Field(description="Energy fed into the grid, Wh; sold only if measured or interpolated"),
    ]
    quality: Annotated[
        Literal["measured", "interpolated", "estimated", "missing", "rejected"],
        Field(description="Origin of the figures; only `measured` and `interpolated` can be sold"),
    ]
    reasons: Annotated[list[str], Field(description="Events of the meter that affected the slot")]


class LatestReadingView(BaseModel):
    device_id: DeviceId
    status: Annotated[DeviceStatus, Field(description="Status of the device now")]
    fault_code: str | None
    last_seen_at: ShownInstant | None
    reading: Annotated[
        ReadingView | None, Field(description="Newest reading by time of measurement; null: none")
    ]


class RejectionView(BaseModel):
    id: Annotated[int, Field(description="Unique number of the rejection")]
    topic: Annotated[str, Field(description="Topic on which the message was published")]
    payload: Annotated[
        str,
        Field(
            description="First 4 KiB of the message; bytes that are not UTF-8 become U+FFFD;"
            " empty if an older rejection has the same message"
        ),
    ]
    reason: Annotated[str, Field(description="Code of the reason for the rejection")]
    time: Annotated[
        ShownInstant | None, Field(description="Time of the measurement, if the message has one")
    ]
    received_at: Annotated[ShownInstant, Field(description="Time at which the message arrived")]


class ReadingCountsView(View):
    """Readings since the registration. `received` = `stored` + `duplicate` + `rejected`."""

    received: Annotated[
        int, Field(description="Number of readings, and of messages that can't be decoded")
    ]
    stored: Annotated[int, Field(description="Number of readings stored, each measurement once")]
    duplicate: Annotated[int, Field(description="Number of readings that were stored before")]
    rejected: Annotated[
        int, Field(description="Number of readings rejected, also of those no longer listed")
    ]


class RejectionPage(Page[RejectionView]):
    """The hub stores the newest thousand rejections of a device, and counts all."""

    readings: Annotated[
        ReadingCountsView, Field(description="Numbers of all readings since the registration")
    ]


@router.get(
    "/latest",
    response_description="The newest reading and the status of the device",
    responses=answers(NotFound),
)
async def get_latest(
    reads: ReadRoutingDep, caller: CurrentUser, device_id: DevicePathId
) -> Answer[LatestReadingView]:
    """Get the newest reading of a device, and its status.

    The newest is the one with the latest time of measurement.
    """

    async def read(conn: Connection) -> tuple[Device, Reading | None]:
        device = await own_device(conn, caller, device_id)
        return device, await telemetry.latest(conn, device_id)

    device, reading = await reads.run(read)
    return ok(
        LatestReadingView(
            device_id=device_id,
            status=device.status,
            fault_code=device.fault_code,
            last_seen_at=device.last_seen_at,
            reading=ReadingView.model_validate(reading) if reading else None,
        )
    )


@router.get(
    "/telemetry",
    response_description="A page of readings, or of stretches of time",
    responses=answers(NotFound),
)
async def get_telemetry(
    reads: ReadRoutingDep,
    clock: ClockDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[TelemetryQuery, Query()],
) -> TelemetryResponse:
    """List the readings of a device, oldest first.

    `resolution` chooses between the readings as received and one point per 15 minutes, hour or day.
    """
    after, until = query.bounds(clock.now())
    limit = query.limit

    async def find(conn: Connection) -> Page[ReadingView] | Page[TelemetryBucketView]:
        await own_device(conn, caller, device_id)
        if query.resolution == "raw":
            readings = await telemetry.raw(
                conn, device_id, after=after, until=until, limit=limit + 1
            )
            return OLDEST.page(readings, limit, key=_time, show=ReadingView.model_validate)
        buckets = await telemetry.buckets(
            conn, device_id, query.resolution, after=after, until=until, limit=limit + 1
        )
        return OLDEST.page(buckets, limit, key=_time, show=TelemetryBucketView.model_validate)

    return TelemetryResponse(data=await reads.run(find))


@router.get(
    "/energy",
    response_description="A page of 15-minute slots",
    responses=answers(NotFound),
)
async def get_energy(
    reads: ReadRoutingDep,
    clock: ClockDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[TimeSpanQuery, Query()],
) -> Answer[Page[IntervalView]]:
    """List the energy of a device per 15-minute slot, oldest first."""
    after, until = query.bounds(clock.now())

    async def find(conn: Connection) -> list[Slot]:
        await own_device(conn, caller, device_id)
        return await telemetry.energy(
            conn, device_id, after=after, until=until, limit=query.limit + 1
        )

    slots = await reads.run(find)
    return ok(
        OLDEST.page(
            slots, query.limit, key=lambda slot: slot.slot_start, show=IntervalView.model_validate
        )
    )


@router.get(
    "/rejections",
    response_description="A page of rejections, and the numbers of readings",
    responses=answers(NotFound),
)
async def get_rejections(
    reads: ReadRoutingDep,
    caller: CurrentUser,
    device_id: DevicePathId,
    query: Annotated[IdPageQuery, Query()],
) -> Answer[RejectionPage]:
    """List the rejected readings and messages of a device, newest first."""
    before_id = NEWEST_ID.read(query.cursor)

    async def find(conn: Connection) -> tuple[list[StoredRejection], Counts]:
        await own_device(conn, caller, device_id)
        found = await telemetry.rejections(
            conn, device_id, before_id=before_id, limit=query.limit + 1
        )
        return found, await telemetry.counts(conn, device_id)

    found, counts = await reads.run(find)
    page = NEWEST_ID.page(
        found, query.limit, key=lambda rejection: rejection.id, show=_rejection_view
    )
    return ok(RejectionPage(**dict(page), readings=ReadingCountsView.model_validate(counts)))


def _rejection_view(rejection: StoredRejection) -> RejectionView:
    return RejectionView(
        id=rejection.id,
        topic=rejection.topic,
        payload=rejection.payload.decode(errors="replace"),
        reason=rejection.reason,
        time=rejection.time,
        received_at=rejection.received_at,
    )


def _time(point: Reading | Bucket) -> datetime:
    assert point.time is not None
    return point.time
