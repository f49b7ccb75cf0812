"""Routes of the control room: map, flow of readings and events, market, trades."""

from datetime import timedelta
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from api.devices.views import DeviceKind, DeviceStatus
from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Admin, ClockDep, PoolDep, ReadRoutingDep, SettingsDep
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import ShownInstant, ShownKwh, ShownMoney, ShownPrice, View
from api.listings.views import ListingCounts, ListingView
from core.clock import real_now
from core.errors import Forbidden
from core.ids import DeviceId, ListingId, UserId
from core.units import price, slot_of
from db import control_room, flow, headline, summary
from db.control_room import SlotTraded

router = routing.private("/admin", "admin")

# Enough for a city, and still one response of a few megabytes.
_MAP_MAX = 10_000
_FLOW_SPAN = timedelta(minutes=15)
# Two samples a second: the ingester and the feed write one each.
_FLOW_MAX = 2_000


class MappedDeviceView(View):
    id: Annotated[DeviceId, Field(description="Unique id of the device")]
    name: Annotated[str, Field(description="Name that the owner gave the device")]
    kind: Annotated[DeviceKind, Field(description="Kind of the device")]
    dialect: str
    capacity_w: float
    latitude: float | None
    longitude: float | None
    status: Annotated[DeviceStatus, Field(description="Status of the device now")]
    fault_code: str | None
    last_seen_at: ShownInstant | None
    power_w: Annotated[float | None, Field(description="Power in the newest reading, in W")]
    owner_id: UserId
    battery_soc_pct: Annotated[
        float | None, Field(description="State of charge, 0–100 %; null without a battery")
    ]


class MapView(View):
    devices: Annotated[
        list[MappedDeviceView],
        Field(description=f"The newest devices by registration, {_MAP_MAX} at most"),
    ]
    listings: Annotated[
        list[ListingView], Field(description=f"The newest active listings, {_MAP_MAX} at most")
    ]
    names: Annotated[
        dict[UserId, str],
        Field(description="Names of the devices' owners and the listings' sellers, by their ids"),
    ]
    tiles_url: Annotated[
        str | None, Field(description="URL template of the tile server; null: a map without tiles")
    ]


class FlowSampleView(View):
    time: Annotated[ShownInstant, Field(description="Time of the sample, about one each second")]
    received: Annotated[int, Field(description="Number of readings received since the start")]
    stored: Annotated[int, Field(description="Number of readings stored since the start")]
    duplicate: Annotated[
        int, Field(description="Number of readings that were stored before, since the start")
    ]
    rejected: Annotated[int, Field(description="Number of readings rejected since the start")]
    events: Annotated[int, Field(description="Number of events published since the last sample")]
    outbox_depth: Annotated[int, Field(description="Number of events that wait in the outbox")]
    outbox_age_s: Annotated[
        float, Field(description="Age of the oldest event in the outbox, in seconds")
    ]
    sockets: Annotated[
        int | None, Field(description="Number of clients of the feed; null: not reported")
    ]
    commit_to_socket_p50_ms: Annotated[
        float | None,
        Field(description="Median time from commit to socket in ms; null: not reported"),
    ]
    commit_to_socket_p99_ms: Annotated[
        float | None,
        Field(description="99th percentile from commit to socket in ms; null: not reported"),
    ]


class FlowView(View):
    samples: Annotated[
        list[FlowSampleView], Field(description="Samples of the last 15 minutes, oldest first")
    ]


class SlotTradedView(View):
    slot_start: ShownInstant
    transactions: Annotated[int, Field(description="Number of purchases in the slot")]
    energy_kwh: Annotated[ShownKwh, Field(description="Energy bought in the slot, in kWh")]
    total_price: Annotated[
        ShownMoney, Field(description="Money paid in the slot in INR, fees included")
    ]
    platform_fees: Annotated[
        ShownMoney, Field(description="Fees of the platform in the slot, in INR")
    ]
    average_price_per_kwh: Annotated[
        ShownPrice, Field(description="Money paid per energy bought, in INR per kWh")
    ]

    @classmethod
    def of(cls, slot: SlotTraded) -> "SlotTradedView":
        return cls(
            slot_start=slot.slot_start,
            transactions=slot.transactions,
            energy_kwh=slot.energy_kwh,
            total_price=slot.total_price,
            platform_fees=slot.platform_fees,
            average_price_per_kwh=price(slot.total_price / slot.energy_kwh),
        )


class MarketActivityView(View):
    listings: Annotated[ListingCounts, Field(description="Numbers of listings by status, now")]
    slots: Annotated[
        list[SlotTradedView], Field(description="Slots with at least one purchase, oldest first")
    ]


class TradeView(View):
    """A purchase, with the names of buyer and seller."""

    id: Annotated[UUID, Field(description="Unique id of the transaction")]
    listing_id: Annotated[
        ListingId | None, Field(description="Unique id of the listing; null: it was removed")
    ]
    device_id: Annotated[
        DeviceId | None, Field(description="Unique id of the device that measured the energy")
    ]
    buyer_id: UserId | None
    buyer_name: Annotated[
        str | None, Field(description="Name of the buyer; null: the user was removed")
    ]
    seller_id: UserId | None
    seller_name: Annotated[
        str | None, Field(description="Name of the seller; null: the user was removed")
    ]
    energy_kwh: Annotated[ShownKwh, Field(description="Energy that was bought, in kWh, 3 decimals")]
    price_per_kwh: Annotated[
        ShownPrice, Field(description="Price at the purchase in INR per kWh, 4 decimals")
    ]
    total_price: Annotated[
        ShownMoney, Field(description="Price that the buyer paid in INR, fee included")
    ]
    platform_fee: Annotated[ShownMoney, Field(description="Fee of the platform in INR")]
    created_at: Annotated[ShownInstant, Field(description="Time of the purchase")]


class MarketQuery(BaseModel):
    hours: Annotated[
        int, Field(ge=1, le=168, description="Number of hours to look back, in whole slots")
    ] = 24


class TradeQuery(PageQuery):
    device_id: Annotated[
        DeviceId | None, Field(description="Only energy that this device measured")
    ] = None


@router.get(
    "/map", response_description="Devices and active listings", responses=answers(Forbidden)
)
async def get_map(reads: ReadRoutingDep, settings: SettingsDep, _: Admin) -> Answer[MapView]:
    """Get every device and every active listing with its place, for a map."""
    devices = await reads.run(partial(control_room.devices, limit=_MAP_MAX))
    listings = await reads.run(partial(control_room.active_listings, limit=_MAP_MAX))
    names = await reads.run(partial(headline.names, limit=2 * _MAP_MAX))
    return ok(
        MapView(
            names=names,
            devices=[MappedDeviceView.model_validate(device) for device in devices],
            listings=[ListingView.model_validate(listing) for listing in listings],
            tiles_url=settings.map_tiles_url,
        )
    )


@router.get(
    "/flow", response_description="Samples of the last 15 minutes", responses=answers(Forbidden)
)
async def get_flow(pool: PoolDep, _: Admin) -> Answer[FlowView]:
    """Get the flow of readings and events in the last 15 minutes, about second by second."""
    async with pool.acquire() as conn:
        samples = await flow.since(conn, real_now() - _FLOW_SPAN, limit=_FLOW_MAX)
    return ok(FlowView(samples=[FlowSampleView.model_validate(sample) for sample in samples]))


@router.get(
    "/market", response_description="The activity of the market", responses=answers(Forbidden)
)
async def get_market(
    reads: ReadRoutingDep, clock: ClockDep, _: Admin, query: Annotated[MarketQuery, Query()]
) -> Answer[MarketActivityView]:
    """Get the numbers of listings by status, and the trade in each 15-minute slot."""
    since = slot_of(clock.now() - timedelta(hours=query.hours))
    counts = await reads.run(summary.listings_by_status)
    slots = await reads.run(lambda conn: control_room.slots(conn, since))
    return ok(
        MarketActivityView(
            listings=ListingCounts.model_validate(counts),
            slots=[SlotTradedView.of(slot) for slot in slots],
        )
    )


@router.get("/trades", response_description="A page of purchases", responses=answers(Forbidden))
async def list_trades(
    reads: ReadRoutingDep, _: Admin, query: Annotated[TradeQuery, Query()]
) -> Answer[Page[TradeView]]:
    """List the purchases of all users, newest first."""
    before = NEWEST.read(query.cursor)
    found = await reads.run(
        lambda conn: control_room.trades(
            conn, query.device_id, before=before, limit=query.limit + 1
        )
    )
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda trade: (trade.created_at, trade.id),
            show=TradeView.model_validate,
        )
    )
