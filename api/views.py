"""How listings, transactions and wallets are shown; events show them in the same way.

Only who sells is shown the exact place of a listing; `listing_text` in the schema does the same.
"""

from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field

from api.http.fields import ShownInstant, ShownKwh, ShownMoney, ShownPrice, View
from core.ids import DeviceId, ListingId, UserId
from core.listings import Listing

ListingStatus = Literal["active", "paused", "sold", "expired", "cancelled"]
Pricing = Literal["fixed", "dynamic"]


class ListingView(View):
    id: UUID
    seller_id: UserId
    device_id: DeviceId | None
    energy_amount_kwh: Annotated[ShownKwh, Field(description="Left to sell, kWh")]
    sold_kwh: ShownKwh
    price_per_kwh: ShownPrice
    status: ListingStatus
    auto_adjust: bool
    pricing: Pricing
    price_floor: ShownPrice | None
    price_cap: ShownPrice | None
    reserve_soc_pct: Annotated[float | None, Field(description="Of the battery, 0–100 %")]
    latitude: Annotated[
        float, Field(description="To 0.01° unless exact_location, or the caller sells it")
    ]
    longitude: Annotated[
        float, Field(description="To 0.01° unless exact_location, or the caller sells it")
    ]
    exact_location: Annotated[bool, Field(description="Whether everybody is shown the exact place")]
    available_from: ShownInstant
    available_to: ShownInstant
    version: Annotated[int, Field(description="Rises with every change that can be seen")]
    created_at: ShownInstant
    updated_at: ShownInstant

    @classmethod
    def to(cls, reader_id: UserId, listing: Listing) -> Self:
        """The listing as somebody sees it: its seller sees where exactly it is."""
        shown = cls.model_validate(listing)
        if listing.seller_id != reader_id:
            return shown
        place = {"latitude": listing.exact_latitude, "longitude": listing.exact_longitude}
        return shown.model_copy(update=place)


class TransactionView(View):
    id: UUID
    listing_id: ListingId | None
    buyer_id: UserId | None
    seller_id: UserId | None
    payment_method_id: UUID | None
    energy_kwh: ShownKwh
    price_per_kwh: ShownPrice
    total_price: ShownMoney
    platform_fee: ShownMoney
    seller_amount: Annotated[
        ShownMoney, Field(description="INR: what is left of the price after the fee")
    ]
    investor_amount: Annotated[
        ShownMoney, Field(description="INR: what of seller_amount went to the device's investors")
    ]
    status: Literal["completed"]
    created_at: ShownInstant


class WalletView(View):
    user_id: UserId
    currency: str
    balance: ShownMoney


# Of devices: what their hosts ask of investors.
ShownTarget = Annotated[
    ShownMoney | None,
    Field(description="What investors may put into it, INR; null: not open for funding"),
]
ShownShare = Annotated[
    Decimal | None,
    Field(
        examples=["0.3000"],
        description="Part of what its sales leave the seller that goes to investors: all of "
        "it once it is wholly funded; 4 decimals",
    ),
]
ShownFunded = Annotated[ShownMoney, Field(description="INR that investors have put in")]
