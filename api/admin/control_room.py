"""Routes: what the control room shows beside what the other routes and the live feed tell."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Admin, ClockDep, PoolDep, ReadRoutingDep, SettingsDep
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import ShownInstant, ShownKwh, ShownMoney, ShownPrice, View
from api.listings.summary import ListingCounts
from api.views import ListingView
from core.clock import real_now
from core.errors import Forbidden
from core.ids import DeviceId, ListingId, UserId
from core.units import price, slot_of
from db import control_room, flow, headline, summary
from db.control_room import SlotTraded

router = routing.private("/admin", "admin")

_MAP_MAX = 10_000
_FLOW_SPAN = timedelta(minutes=15)
_FLOW_MAX = 2_000

DeviceStatus = Literal["pending", "online", "offline", "fault"]
Milliseconds = Annotated[float | None, Field(description="ms; null: nothing was told")]


class MappedDeviceView(View):
    id: UUID
    name: str
    kind: str
    dialect: str
    capacity_w: Annotated[float, Field(description="Peak power, W")]
    latitude: float | None
    longitude: float | None
    status: DeviceStatus
    fault_code: str | None
    last_seen_at: ShownInstant | None
    power_w: Annotated[float | None, Field(description="As measured last, W")]
    owner_id: Annotated[UserId, Field(description="Id of the user that owns the device")]
    battery_soc_pct: Annotated[
        float | None, Field(description="State of charge, 0–100 %; null without a battery")
    ]


class MapView(View):
    devices: Annotated[
        list[MappedDeviceView], Field(description=f"Registered last, {_MAP_MAX} at most")
    ]
    listings: Annotated[
        list[ListingView], Field(description=f"Active ones made last, {_MAP_MAX} at most")
    ]
    names: Annotated[
        dict[UserId, str],
        Field(description="Names of the devices' owners and the listings' sellers, by their ids"),
    ]
    tiles_url: Annotated[
        str | None, Field(description="Template of a tile server's URLs; null: no tiles")
    ]


class FlowSampleView(View):
    time: Annotated[ShownInstant, Field(description="When it was noted: about each second")]
    received: Annotated[int, Field(description="Readings of all devices, ever")]
    stored: Annotated[int, Field(description="Of these, stored")]
    duplicate: Annotated[int, Field(description="Of these, there already")]
    rejected: Annotated[int, Field(description="Of these, refused")]
    events: Annotated[int, Field(description="Published since the sample before")]
    outbox_depth: Annotated[int, Field(description="Events that waited to be published")]
    outbox_age_s: Annotated[float, Field(description="Age of the oldest of them, s")]
    sockets: Annotated[int | None, Field(description="Clients of the live feed; null: not told")]
    commit_to_socket_p50_ms: Milliseconds
    commit_to_socket_p99_ms: Milliseconds


class FlowView(View):
    samples: Annotated[list[FlowSampleView], Field(description="Oldest first")]


class SlotTradedView(View):
    slot_start: ShownInstant
    transactions: Annotated[int, Field(description="Purchases in the slot")]
    energy_kwh: ShownKwh
    total_price: ShownMoney
    platform_fees: Annotated[ShownMoney, Field(description="Part of what was paid, INR")]
    average_price_per_kwh: ShownPrice

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


class MarketView(View):
    listings: Annotated[ListingCounts, Field(description="Listings by status, now")]
    slots: Annotated[
        list[SlotTradedView], Field(description="Slots in which anything was bought, oldest first")
    ]


class TradeView(View):
    id: UUID
    listing_id: ListingId | None
    device_id: DeviceId | None
    buyer_id: UserId | None
    buyer_name: Annotated[str | None, Field(description="Who bought; null: gone since")]
    seller_id: UserId | None
    seller_name: Annotated[str | None, Field(description="Who sold; null: gone since")]
    energy_kwh: ShownKwh
    price_per_kwh: ShownPrice
    total_price: ShownMoney
    platform_fee: ShownMoney
    created_at: ShownInstant


class MarketQuery(BaseModel):
    hours: Annotated[int, Field(ge=1, le=168, description="How far back, whole slots")] = 24


class TradeQuery(PageQuery):
    device_id: Annotated[DeviceId | None, Field(description="Of what it measured only")] = None


@router.get("/map", responses=answers(Forbidden))
async def get_map(reads: ReadRoutingDep, settings: SettingsDep, _: Admin) -> Answer[MapView]:
    """Every device and every active listing, with where it is: a map at a glance."""
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


@router.get("/flow", responses=answers(Forbidden))
async def get_flow(pool: PoolDep, _: Admin) -> Answer[FlowView]:
    """How readings and events flowed in the last 15 minutes, about second by second."""
    async with pool.acquire() as conn:
        samples = await flow.since(conn, real_now() - _FLOW_SPAN, limit=_FLOW_MAX)
    return ok(FlowView(samples=[FlowSampleView.model_validate(sample) for sample in samples]))


@router.get("/market", responses=answers(Forbidden))
async def get_market(
    reads: ReadRoutingDep, clock: ClockDep, _: Admin, query: Annotated[MarketQuery, Query()]
) -> Answer[MarketView]:
    """Listings by status now, and what was traded in each 15-minute slot."""
    since = slot_of(clock.now() - timedelta(hours=query.hours))
    counts = await reads.run(summary.listings_by_status)
    slots = await reads.run(lambda conn: control_room.slots(conn, since))
    return ok(
        MarketView(
            listings=ListingCounts.model_validate(counts),
            slots=[SlotTradedView.of(slot) for slot in slots],
        )
    )


@router.get("/trades", responses=answers(Forbidden))
async def list_trades(
    reads: ReadRoutingDep, _: Admin, query: Annotated[TradeQuery, Query()]
) -> Answer[Page[TradeView]]:
    """Everyone's purchases, newest first."""
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
            key=lambda one: (one.created_at, one.id),
            show=TradeView.model_validate,
        )
    )
