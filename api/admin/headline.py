"""Routes of the headline of the control room, and of the totals of a device."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from api.devices.service import own_device
from api.http import routing
from api.http.dependencies import Admin, ClockDep, DevicePathId, ReadRoutingDep, SettingsDep
from api.http.envelope import Answer, ok
from api.http.errors import answers
from api.http.fields import Instant, ShownInstant, ShownKwh, ShownMoney, ShownPrice, View
from core.errors import Forbidden, Invalid, NotFound
from core.units import KWH, kwh_of_wh, price, slot_of
from db import headline, summary
from db.headline import DeviceTotals
from db.pool import Connection

router = routing.private("/admin", "admin")

# The longest period that a headline is computed for: its cost grows with the period.
_PERIOD_MAX = timedelta(days=7)


class PeriodQuery(BaseModel):
    """A period that ends now. By default it is the last 24 hours."""

    since: Annotated[
        Instant | None,
        Field(
            alias="from",
            description="Start of the period, at most 7 days ago; rounded down to 15 minutes",
            examples=["2026-03-01T18:30:00Z"],
        ),
    ] = None

    def start(self, now: datetime) -> datetime:
        since = self.since or now - timedelta(days=1)
        if since < now - _PERIOD_MAX:
            raise Invalid(field="from", allowed="must be within the last 7 days")
        return slot_of(since)


class HeadlineView(View):
    now: Annotated[ShownInstant, Field(description="Current time of the hub")]
    pace: Annotated[
        float,
        Field(description="Seconds of the hub's clock per second; 1 except in a demonstration"),
    ]
    since: Annotated[ShownInstant, Field(description="Start of the period")]
    generated_kwh: Annotated[ShownKwh, Field(description="Energy that all devices generated, kWh")]
    transactions: Annotated[int, Field(description="Number of purchases in the period")]
    energy_kwh: Annotated[ShownKwh, Field(description="Energy that was purchased, kWh")]
    total_price: Annotated[ShownMoney, Field(description="Money paid for the purchases, INR")]
    average_price_per_kwh: Annotated[
        ShownPrice | None, Field(description="Average price, INR per kWh; null without purchases")
    ]
    grid_retail_price: Annotated[ShownPrice, Field(description="Price the grid charges, INR/kWh")]
    grid_export_price: Annotated[ShownPrice, Field(description="Price the grid pays, INR per kWh")]
    co2_avoided_kg: Annotated[
        ShownKwh,
        Field(
            description="CO₂ that the grid would have emitted to generate `generated_kwh`, kg",
            examples=["61.250"],
        ),
    ]


class DeviceSumsView(View):
    generated_wh: Annotated[float, Field(description="Energy that the device generated, Wh")]
    exported_wh: Annotated[float, Field(description="Energy fed into the grid, Wh")]
    imported_wh: Annotated[
        float | None,
        Field(description="Energy drawn from the grid, Wh; null if the device does not report it"),
    ]
    sold_kwh: Annotated[ShownKwh, Field(description="Energy sold from the device, kWh")]
    earned: Annotated[
        ShownMoney, Field(description="Money that the owner got for it, INR, after fees and shares")
    ]


class DeviceTotalsView(View):
    since: Annotated[ShownInstant, Field(description="Start of the period")]
    period: Annotated[DeviceSumsView, Field(description="Totals of the period")]
    lifetime: Annotated[DeviceSumsView, Field(description="Totals since the registration")]


@router.get(
    "/headline",
    responses=answers(Forbidden),
    response_description="The headline figures of the period",
)
async def get_headline(
    reads: ReadRoutingDep,
    settings: SettingsDep,
    clock: ClockDep,
    _: Admin,
    query: Annotated[PeriodQuery, Query()],
) -> Answer[HeadlineView]:
    """Get what the whole hub generated and traded in a period, against the grid's prices."""
    now = clock.now()
    since = query.start(now)

    async def read(conn: Connection) -> tuple[Decimal, summary.Traded]:
        generated_wh = await headline.generated_wh(conn, since)
        return generated_wh, await summary.traded(conn, begin=since, end=now)

    generated_wh, traded = await reads.run(read)
    generated_kwh = kwh_of_wh(generated_wh)
    average = price(traded.total_price / traded.energy_kwh) if traded.energy_kwh else None
    return ok(
        HeadlineView(
            now=now,
            pace=clock.pace,
            since=since,
            generated_kwh=generated_kwh,
            transactions=traded.transactions,
            energy_kwh=traded.energy_kwh.quantize(KWH),
            total_price=traded.total_price,
            average_price_per_kwh=average,
            grid_retail_price=settings.grid_retail_price,
            grid_export_price=settings.grid_export_price,
            co2_avoided_kg=(generated_kwh * settings.grid_co2_g_per_kwh / 1000).quantize(KWH),
        )
    )


@router.get(
    "/devices/{device_id}/totals",
    responses=answers(Forbidden, NotFound),
    response_description="The totals of the period and of the lifetime",
)
async def get_device_totals(
    reads: ReadRoutingDep,
    clock: ClockDep,
    admin: Admin,
    device_id: DevicePathId,
    query: Annotated[PeriodQuery, Query()],
) -> Answer[DeviceTotalsView]:
    """Get what a device generated, exported, imported and sold, in a period and in total."""
    since = query.start(clock.now())

    async def read(conn: Connection) -> tuple[DeviceTotals, DeviceTotals]:
        await own_device(conn, admin, device_id)
        return await headline.device_totals(conn, device_id, since)

    period, lifetime = await reads.run(read)
    return ok(
        DeviceTotalsView(
            since=since,
            period=DeviceSumsView.model_validate(period),
            lifetime=DeviceSumsView.model_validate(lifetime),
        )
    )
