"""Routes of purchases and transactions."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from pydantic import Field
from starlette.responses import Response

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import (
    Buyer,
    CurrentUser,
    Id,
    ReadRoutingDep,
    ServicesDep,
)
from api.http.envelope import Answer, Page, created_of_json, ok
from api.http.errors import answers
from api.http.fields import (
    Body,
    Kwh,
    PricePerKwh,
    ShownInstant,
    ShownKwh,
    ShownMoney,
    ShownPrice,
    View,
)
from api.http.idempotency import IdempotencyKey, request_hash
from api.listings.views import ListingView
from core import errors
from core.enums import UserRole
from core.errors import Forbidden, NotFound
from core.ids import ListingId, UserId
from db import transactions
from db.purchases import Idempotency, PurchaseOrder

router = routing.private("/marketplace", "marketplace")


class NewPurchase(Body):
    listing_id: ListingId
    energy_kwh: Kwh
    max_price_per_kwh: Annotated[
        PricePerKwh | None,
        Field(description="Highest acceptable price in INR per kWh; refused if it costs more now"),
    ] = None
    payment_method_id: UUID | None = None


class TransactionQuery(PageQuery):
    as_: Annotated[
        Literal["buyer", "seller"] | None,
        Field(alias="as", description="Side on which the user took part; both by default"),
    ] = None


class TransactionView(View):
    """A purchase. Its event on the feed has the same fields."""

    id: Annotated[UUID, Field(description="Unique id of the transaction")]
    listing_id: Annotated[
        ListingId | None, Field(description="Unique id of the listing; null: it was removed")
    ]
    buyer_id: UserId | None
    seller_id: Annotated[
        UserId | None, Field(description="Unique id of the seller; null: the user was removed")
    ]
    payment_method_id: Annotated[
        UUID | None, Field(description="Unique id of the payment method, if the buyer named one")
    ]
    energy_kwh: Annotated[ShownKwh, Field(description="Energy that was bought, in kWh, 3 decimals")]
    price_per_kwh: Annotated[
        ShownPrice, Field(description="Price at the purchase in INR per kWh, 4 decimals")
    ]
    total_price: Annotated[
        ShownMoney, Field(description="Price that the buyer paid in INR, fee included")
    ]
    platform_fee: Annotated[ShownMoney, Field(description="Fee of the platform in INR")]
    seller_amount: Annotated[
        ShownMoney, Field(description="Price without the fee in INR, the investors' part included")
    ]
    investor_amount: Annotated[
        ShownMoney,
        Field(description="Part of `seller_amount` that went to the device's investors, in INR"),
    ]
    status: Annotated[
        Literal["completed"], Field(description="State of the transaction, always `completed`")
    ]
    created_at: Annotated[ShownInstant, Field(description="Time of the purchase")]


class PurchaseView(TransactionView):
    listing: Annotated[
        ListingView | None,
        Field(description="The listing after the purchase; null: it was removed since"),
    ]


@router.post(
    "/purchase", status_code=201, response_model=Answer[PurchaseView],
    response_description="The transaction, and the listing as it is now",
    responses=answers(
        Forbidden, NotFound, errors.ListingNotActive, errors.OutsideWindow,
        errors.InsufficientEnergy, errors.InsufficientBalance, errors.PriceChanged,
        errors.OwnListing, errors.IdempotencyKeyReused, errors.PurchaseTooSmall,
        errors.PayeeWalletLimit,
    ),
)  # fmt: skip
async def buy(
    services: ServicesDep, buyer: Buyer, body: NewPurchase, key: IdempotencyKey = None
) -> Response:
    """Buy energy from a listing.

    The purchase is paid, recorded and announced as a whole, or refused without any effect.
    """
    bought = await services.purchase_batcher.purchase(
        PurchaseOrder(
            buyer.user_id,
            body.listing_id,
            body.energy_kwh,
            body.max_price_per_kwh,
            body.payment_method_id,
            Idempotency(key, _hash(body)) if key else None,
        )
    )
    if bought.replayed:
        return created_of_json(bought.shown, {"Idempotent-Replayed": "true"})
    services.metrics.purchases.inc()
    services.metrics.traded_kwh.inc(float(body.energy_kwh))
    return created_of_json(bought.shown)


@router.get("/transactions", response_description="A page of the user's transactions")
async def list_transactions(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[TransactionQuery, Query()]
) -> Answer[Page[TransactionView]]:
    """List the transactions of the user, newest first."""
    before = NEWEST.read(query.cursor)
    found = await reads.run(
        lambda conn: transactions.of_user(
            conn,
            caller.user_id,
            as_buyer=query.as_ != "seller",
            as_seller=query.as_ != "buyer",
            before=before,
            limit=query.limit + 1,
        )
    )
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda transaction: (transaction.created_at, transaction.id),
            show=TransactionView.model_validate,
        )
    )


@router.get(
    "/transactions/{transaction_id}",
    response_description="The requested transaction",
    responses=answers(NotFound),
)
async def get_transaction(
    reads: ReadRoutingDep, caller: CurrentUser, transaction_id: Id
) -> Answer[TransactionView]:
    """Get a transaction in which the user took part.

    Administrators can get every transaction.
    """
    found = await reads.run(lambda conn: transactions.by_id(conn, transaction_id))
    parties = (found.buyer_id, found.seller_id) if found else ()
    if found is None or (caller.role is not UserRole.ADMIN and caller.user_id not in parties):
        raise NotFound(what="transaction")
    return ok(TransactionView.model_validate(found))


def _hash(order: NewPurchase) -> bytes:
    return request_hash(
        order.listing_id, order.energy_kwh, order.max_price_per_kwh, order.payment_method_id
    )
