"""Routes: energy bought, and what was bought."""

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
from api.http.fields import Body, Kwh, PricePerKwh
from api.http.idempotency import IdempotencyKey, request_hash
from api.views import ListingView, TransactionView
from core import errors
from core.enums import UserRole
from core.errors import Forbidden, NotFound
from core.ids import ListingId
from db import transactions
from db.purchases import Idempotency, PurchaseOrder

router = routing.private("/marketplace", "marketplace")


class NewPurchase(Body):
    listing_id: ListingId
    energy_kwh: Kwh
    max_price_per_kwh: Annotated[
        PricePerKwh | None, Field(description="Refuse if it costs more by now, INR per kWh")
    ] = None
    payment_method_id: UUID | None = None


class TransactionQuery(PageQuery):
    as_: Annotated[
        Literal["buyer", "seller"] | None, Field(alias="as", description="Without: both")
    ] = None


class PurchaseView(TransactionView):
    listing: Annotated[ListingView | None, Field(description="As it is now")]


@router.post(
    "/purchase", status_code=201, response_model=Answer[PurchaseView],
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
    """Buy energy: it is paid, recorded and announced, or nothing happened at all."""
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


@router.get("/transactions")
async def list_transactions(
    reads: ReadRoutingDep, caller: CurrentUser, query: Annotated[TransactionQuery, Query()]
) -> Answer[Page[TransactionView]]:
    """What the caller bought, sold, or both, newest first."""
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
            key=lambda one: (one.created_at, one.id),
            show=TransactionView.model_validate,
        )
    )


@router.get("/transactions/{transaction_id}", responses=answers(NotFound))
async def get_transaction(
    reads: ReadRoutingDep, caller: CurrentUser, transaction_id: Id
) -> Answer[TransactionView]:
    """A purchase that the caller was part of; an admin's: any."""
    found = await reads.run(lambda conn: transactions.by_id(conn, transaction_id))
    parties = (found.buyer_id, found.seller_id) if found else ()
    if found is None or (caller.role is not UserRole.ADMIN and caller.user_id not in parties):
        raise NotFound(what="transaction")
    return ok(TransactionView.model_validate(found))


def _hash(order: NewPurchase) -> bytes:
    return request_hash(
        order.listing_id, order.energy_kwh, order.max_price_per_kwh, order.payment_method_id
    )
