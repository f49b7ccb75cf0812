"""Listings as clients see them, in responses and in the events of the feed.

Only the seller sees the exact place of a listing. The SQL function that writes a listing as JSON
for lists and events follows the same rule.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from api.http.fields import ShownInstant, ShownKwh, ShownPrice, View
from core.ids import DeviceId, ListingId, UserId
from core.listings import Listing

ListingStatus = Literal["active", "paused", "sold", "expired", "cancelled"]
Pricing = Literal["fixed", "dynamic"]


class ListingView(View):
    id: Annotated[ListingId, Field(description="Unique id of the listing")]
    seller_id: UserId
    device_id: Annotated[
        DeviceId | None, Field(description="Unique id of the device; null: the listing has none")
    ]
    energy_amount_kwh: Annotated[
        ShownKwh, Field(description="Energy that is left to buy, in kWh, 3 decimals")
    ]
    sold_kwh: Annotated[ShownKwh, Field(description="Energy sold so far in kWh, 3 decimals")]
    price_per_kwh: Annotated[
        ShownPrice, Field(description="Price at the moment in INR per kWh, 4 decimals")
    ]
    status: Annotated[
        ListingStatus,
        Field(
            description="`active`: on offer; `paused`: by the seller or the device; `sold`: nothing"
            " left; `expired`: its time is over; `cancelled`: closed by the seller"
        ),
    ]
    auto_adjust: bool
    pricing: Pricing
    price_floor: ShownPrice | None
    price_cap: ShownPrice | None
    reserve_soc_pct: Annotated[
        float | None,
        Field(description="State of charge of the battery below which nothing is sold, 0–100 %"),
    ]
    latitude: Annotated[
        float,
        Field(description="WGS 84 degrees; rounded to 0.01° unless public or the user's own"),
    ]
    longitude: Annotated[
        float,
        Field(description="WGS 84 degrees; rounded to 0.01° unless public or the user's own"),
    ]
    exact_location: Annotated[bool, Field(description="true: everybody sees the exact place")]
    available_from: ShownInstant
    available_to: ShownInstant
    version: Annotated[
        int, Field(description="Number that rises with every visible change of the listing")
    ]
    created_at: ShownInstant
    updated_at: ShownInstant

    @classmethod
    def for_user(cls, user_id: UserId, listing: Listing) -> Self:
        """Return the listing as the user sees it: the seller sees the exact place."""
        view = cls.model_validate(listing)
        if listing.seller_id != user_id:
            return view
        place = {"latitude": listing.exact_latitude, "longitude": listing.exact_longitude}
        return view.model_copy(update=place)


class ListingCounts(BaseModel):
    """Numbers of listings by status."""

    active: Annotated[int, Field(description="Number of listings on offer")] = 0
    paused: Annotated[int, Field(description="Number of listings paused by seller or device")] = 0
    sold: Annotated[int, Field(description="Number of listings with nothing left")] = 0
    expired: Annotated[int, Field(description="Number of listings whose time is over")] = 0
    cancelled: Annotated[int, Field(description="Number of listings closed by their seller")] = 0
