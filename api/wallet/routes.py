"""Routes of the user's wallet: balance, entries, top-ups and withdrawals."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response
from pydantic import Field

from api.http import routing
from api.http.cursors import NEWEST_ID, IdPageQuery
from api.http.dependencies import Member, PoolDep, ServicesDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import Body, Money, ShownInstant, ShownKwh, ShownMoney, View
from api.http.idempotency import IdempotencyKey
from api.payments import service as payments_service
from api.payments.service import PaymentRequest
from core.enums import EntryKind, PaymentKind
from core.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InsufficientBalance,
    NotFound,
    PaymentsUnavailable,
    PayoutHeld,
    WalletLimit,
)
from core.ids import DeviceId, ListingId, UserId
from core.tokens import Identity
from db import wallets
from db.wallets import LedgerEntry

router = routing.private("/wallet", "wallet")


class WalletView(View):
    user_id: UserId
    currency: str
    balance: ShownMoney


class WalletEntryView(View):
    """One amount that came into the wallet or left it."""

    id: Annotated[int, Field(description="Unique number of the entry")]
    transfer_id: Annotated[
        UUID, Field(description="Unique id of the transfer, whose entries sum to zero")
    ]
    amount: Annotated[ShownMoney, Field(description="Amount in INR; negative: it left the wallet")]
    kind: Annotated[
        Literal[
            "purchase", "sale", "revenue_share", "investment", "topup", "withdrawal", "reversal"
        ],
        Field(
            description="Reason for the entry; `revenue_share`: an investor's part of a sale; "
            "`reversal`: a failed withdrawal came back"
        ),
    ]
    reference_id: Annotated[
        UUID,
        Field(description="Unique id of the transaction, investment, top-up or withdrawal"),
    ]
    listing_id: Annotated[
        ListingId | None, Field(description="Unique id of the listing of a purchase or sale")
    ]
    device_id: Annotated[
        DeviceId | None,
        Field(description="Unique id of the device that measured the energy or was invested in"),
    ]
    energy_kwh: Annotated[
        ShownKwh | None, Field(description="Energy of a purchase or sale in kWh, 3 decimals")
    ]
    created_at: ShownInstant


class NewPaymentOrder(Body):
    amount: Annotated[
        Money, Field(description="Amount in INR, at most 2 decimals; string or number")
    ]
    payment_method_id: UUID


class PaymentOrderView(View):
    id: Annotated[UUID, Field(description="Unique id of the top-up or withdrawal")]
    kind: Annotated[Literal["topup", "withdrawal"], Field(description="Direction of the payment")]
    amount: Annotated[ShownMoney, Field(description="Amount in INR, 2 decimals")]
    status: Annotated[
        Literal["pending", "completed", "failed"],
        Field(description="`pending` until the provider reports the outcome"),
    ]
    payment_method_id: Annotated[
        UUID | None, Field(description="Unique id of the payment method; null: it was removed")
    ]
    created_at: ShownInstant
    completed_at: Annotated[
        ShownInstant | None,
        Field(description="Time at which the provider reported the outcome; null: not yet"),
    ]


@router.get("", response_description="The wallet of the user", responses=answers(Forbidden))
async def get_wallet(pool: PoolDep, member: Member) -> Answer[WalletView]:
    """Get the balance of the user's wallet."""
    async with pool.acquire() as conn:
        wallet = await wallets.of(conn, member.user_id)
    if wallet is None:
        raise NotFound(what="wallet")
    return ok(WalletView.model_validate(wallet))


@router.get("/entries", response_description="A page of entries", responses=answers(Forbidden))
async def list_entries(
    pool: PoolDep, member: Member, query: Annotated[IdPageQuery, Query()]
) -> Answer[Page[WalletEntryView]]:
    """List the entries of the user's wallet, newest first.

    Each entry says what it was for.
    """
    before_id = NEWEST_ID.read(query.cursor)
    async with pool.acquire() as conn:
        found = await wallets.entries(
            conn, member.user_id, before_id=before_id, limit=query.limit + 1
        )

    def show(entry: LedgerEntry) -> WalletEntryView:
        return _entry_view(entry, member)

    return ok(NEWEST_ID.page(found, query.limit, key=lambda entry: entry.id, show=show))


@router.post(
    "/topups", status_code=201, response_description="The top-up, pending",
    responses=answers(
        Forbidden, NotFound, IdempotencyKeyReused, WalletLimit, PaymentsUnavailable
    ),
)  # fmt: skip
async def top_up(
    services: ServicesDep,
    member: Member,
    body: NewPaymentOrder,
    response: Response,
    key: IdempotencyKey = None,
) -> Answer[PaymentOrderView]:
    """Top up the wallet through a payment method.

    The top-up is `pending` until the provider's webhook completes it.
    """
    return await _open_order(services, member, PaymentKind.TOPUP, body, key, response)


@router.post(
    "/withdrawals", status_code=201, response_description="The withdrawal, pending",
    responses=answers(
        Forbidden, NotFound, IdempotencyKeyReused, InsufficientBalance, PaymentsUnavailable,
        PayoutHeld,
    ),
)  # fmt: skip
async def withdraw(
    services: ServicesDep,
    member: Member,
    body: NewPaymentOrder,
    response: Response,
    key: IdempotencyKey = None,
) -> Answer[PaymentOrderView]:
    """Withdraw money from the wallet through a payment method.

    The amount leaves the wallet at once, and comes back if the provider reports a failure. Money
    that was earned within the hub's `PAYOUT_DELAY` can't be withdrawn yet.
    """
    return await _open_order(services, member, PaymentKind.WITHDRAWAL, body, key, response)


async def _open_order(
    services: ServicesDep,
    member: Identity,
    kind: PaymentKind,
    body: NewPaymentOrder,
    key: str | None,
    response: Response,
) -> Answer[PaymentOrderView]:
    providers = services.providers
    providers.check_any()
    request = PaymentRequest(kind, body.amount, body.payment_method_id, key)
    opened = await payments_service.open_order(
        services.pool,
        providers.names,
        member,
        request,
        payout_delay=services.settings.payout_delay,
        clock=services.clock,
    )
    if opened.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    providers.wake(opened.order.provider)
    return created(PaymentOrderView.model_validate(opened.order))


def _entry_view(entry: LedgerEntry, member: Identity) -> WalletEntryView:
    kind = EntryKind(entry.kind)
    # A purchase pays the seller and the investors: for them the entry is positive.
    if kind is EntryKind.PURCHASE and entry.amount > 0:
        is_own_sale = entry.seller_id == member.user_id
        kind = EntryKind.SALE if is_own_sale else EntryKind.REVENUE_SHARE
    return WalletEntryView(
        id=entry.id,
        transfer_id=entry.transfer_id,
        amount=entry.amount,
        kind=kind,
        reference_id=entry.reference_id,
        listing_id=entry.listing_id,
        device_id=entry.device_id,
        energy_kwh=entry.energy_kwh,
        created_at=entry.created_at,
    )
