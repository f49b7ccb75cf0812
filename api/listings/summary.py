"""Route of the market summary: what was traded in a span of time, and what is on offer now."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from api.http import routing
from api.http.dependencies import ClockDep, CurrentUser, ReadRoutingDep
from api.http.envelope import Answer, ok
from api.http.fields import Instant, ShownInstant, ShownKwh, ShownMoney, ShownPrice
from api.listings.views import ListingCounts
from core.enums import ListingStatus
from core.errors import Invalid
from core.units import KWH, MONEY, price
from db import summary
from db.pool import Connection
from db.summary import Traded

router = routing.private("/marketplace", "marketplace")

_DEFAULT_SPAN = timedelta(days=30)


class SummaryQuery(BaseModel):
    """A span of time. `from` is 30 days before `to` by default, and `to` is now."""

    from_: Annotated[
        Instant | None,
        Field(alias="from", description="Start of the span, included; by default 30 days earlier"),
    ] = None
    to: Annotated[
        Instant | None, Field(description="End of the span, not included; by default now")
    ] = None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """Return start and end of the span. Raises Invalid."""
        end = self.to or now
        start = self.from_ or end - _DEFAULT_SPAN
        if start >= end:
            if self.to is None:
                raise Invalid(field="from", allowed="must lie in the past, or before a to")
            raise Invalid(field="to", allowed="must be after from")
        return start, end


class MarketSummaryView(BaseModel):
    begin: Annotated[
        ShownInstant, Field(serialization_alias="from", description="Start of the span, included")
    ]
    end: Annotated[
        ShownInstant, Field(serialization_alias="to", description="End of the span, not included")
    ]
    transactions: Annotated[
        int, Field(description="Number of purchases in the span", examples=[12])
    ]
    energy_traded_kwh: Annotated[
        ShownKwh, Field(description="Energy bought in the span, in kWh, 3 decimals")
    ]
    money_traded: Annotated[
        ShownMoney, Field(description="Money paid in the span in INR, fees included")
    ]
    platform_fees: Annotated[
        ShownMoney, Field(description="Fees of the platform in the span, in INR")
    ]
    average_price_per_kwh: Annotated[
        ShownPrice | None,
        Field(description="Money traded per energy traded, INR per kWh; null: nothing was traded"),
    ]
    listings: Annotated[ListingCounts, Field(description="Numbers of listings by status, now")]
    energy_on_offer_kwh: Annotated[
        ShownKwh, Field(description="Energy left in active listings now, in kWh")
    ]


@router.get("/summary", response_description="The summary of the market")
async def get_summary(
    reads: ReadRoutingDep, clock: ClockDep, _: CurrentUser, query: Annotated[SummaryQuery, Query()]
) -> Answer[MarketSummaryView]:
    """Summarise the whole market: trade in a span of time, and what is on offer now."""
    start, end = query.span(clock.now())

    async def read(conn: Connection) -> tuple[Traded, dict[ListingStatus, int], Decimal]:
        # One snapshot: a purchase between two statements would be counted twice or not at all.
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            return (
                await summary.traded(conn, begin=start, end=end),
                await summary.listings_by_status(conn),
                await summary.energy_on_offer_kwh(conn),
            )

    traded, counts, on_offer_kwh = await reads.run(read)
    return ok(
        MarketSummaryView(
            begin=start,
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
