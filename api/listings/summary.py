"""Route: what the market came to."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from api.http import routing
from api.http.dependencies import ClockDep, CurrentUser, ReadRoutingDep
from api.http.envelope import Answer, ok
from api.http.fields import Instant, ShownInstant, ShownKwh, ShownMoney, ShownPrice
from core.enums import ListingStatus
from core.errors import Invalid
from core.units import KWH, MONEY, price
from db import summary
from db.pool import Connection
from db.summary import Traded

router = routing.private("/marketplace", "marketplace")

_SPAN = timedelta(days=30)


class SummaryQuery(BaseModel):
    """A span of time; without `from` it is the 30 days before `to`, without `to` it ends now."""

    from_: Annotated[Instant | None, Field(alias="from", description="Its begin, included")] = None
    to: Annotated[Instant | None, Field(description="Its end, left out")] = None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """Raises Invalid."""
        end = self.to or now
        begin = self.from_ or end - _SPAN
        if begin >= end:
            if self.to is None:
                raise Invalid(field="from", allowed="must lie in the past, or before a to")
            raise Invalid(field="to", allowed="must be after from")
        return begin, end


class ListingCounts(BaseModel):
    active: Annotated[int, Field(description="On offer")] = 0
    paused: Annotated[int, Field(description="Held back by their seller or device")] = 0
    sold: Annotated[int, Field(description="Of which nothing is left")] = 0
    expired: Annotated[int, Field(description="Whose window has passed")] = 0
    cancelled: Annotated[int, Field(description="That their seller closed")] = 0


class SummaryView(BaseModel):
    begin: Annotated[
        ShownInstant, Field(serialization_alias="from", description="Begin of the span, included")
    ]
    end: Annotated[
        ShownInstant, Field(serialization_alias="to", description="End of the span, left out")
    ]
    transactions: Annotated[int, Field(description="Purchases in the span", examples=[12])]
    energy_traded_kwh: Annotated[ShownKwh, Field(description="Bought in the span, kWh")]
    money_traded: Annotated[ShownMoney, Field(description="Paid in the span, INR, fees included")]
    platform_fees: Annotated[ShownMoney, Field(description="Part of what was paid, INR")]
    average_price_per_kwh: Annotated[
        ShownPrice | None,
        Field(description="Money by energy traded, INR per kWh; null: nothing was traded"),
    ]
    listings: Annotated[ListingCounts, Field(description="Listings by status, now")]
    energy_on_offer_kwh: Annotated[ShownKwh, Field(description="Left in active listings now, kWh")]


@router.get("/summary")
async def get_summary(
    reads: ReadRoutingDep, clock: ClockDep, _: CurrentUser, query: Annotated[SummaryQuery, Query()]
) -> Answer[SummaryView]:
    """What the whole market traded in a span of time, and what is on offer now."""
    begin, end = query.span(clock.now())

    async def look(conn: Connection) -> tuple[Traded, dict[ListingStatus, int], Decimal]:
        # One snapshot: what a purchase moves is counted on one side.
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            return (
                await summary.traded(conn, begin=begin, end=end),
                await summary.listings_by_status(conn),
                await summary.energy_on_offer_kwh(conn),
            )

    traded, counts, on_offer_kwh = await reads.run(look)
    return ok(
        SummaryView(
            begin=begin,
            end=end,
            transactions=traded.transactions,
            energy_traded_kwh=traded.energy_kwh.quantize(KWH),
            money_traded=traded.total_price.quantize(MONEY),
            platform_fees=traded.platform_fees.quantize(MONEY),
            average_price_per_kwh=_average_price(traded),
            listings=ListingCounts.model_validate(counts),
            energy_on_offer_kwh=on_offer_kwh.quantize(KWH),
        )
    )


def _average_price(traded: Traded) -> Decimal | None:
    return price(traded.total_price / traded.energy_kwh) if traded.energy_kwh else None
