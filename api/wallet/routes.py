"""Routes: the caller's wallet, money in and out, payment methods."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response
from pydantic import AfterValidator, Field

from api.http import routing
from api.http.cursors import NEWEST, NEWEST_ID, IdPageQuery, PageQuery
from api.http.dependencies import Id, Member, PoolDep, ServicesDep, SettingsDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import Body, Flag, Money, Name, ShownInstant, ShownKwh, ShownMoney, View
from api.http.idempotency import IdempotencyKey
from api.http.usage_limits import Quota, check_quota
from api.payments import service as payments_service
from api.payments.account_numbers import holds_account_number, holds_card_number, is_account_number
from api.payments.service import PaymentRequest
from api.views import WalletView
from core.enums import EntryKind, PaymentKind, PaymentMethodKind
from core.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InsufficientBalance,
    NotFound,
    PaymentsUnavailable,
    PayoutHeld,
    QuotaExceeded,
    WalletLimit,
)
from core.ids import ListingId
from core.tokens import Identity
from db import payments, wallets
from db.wallets import LedgerEntry

router = routing.private("", "wallet")

# Of what is refused, what a pattern can tell.
_ACCOUNT_NUMBER = r"^\s*([0-9][ -]?){9,}\s*$"


def _no_account_number(value: str) -> str:
    if holds_account_number(value):
        raise ValueError("must be a name for it, never with a card or account number")
    return value


def _token(value: str) -> str:
    if is_account_number(value) or holds_card_number(value):
        raise ValueError("must be the provider's token, never a card or account number")
    return value


Label = Annotated[
    Name,
    AfterValidator(_no_account_number),
    Field(
        description="A name for it, without 9 digits in a row, however they are written",
        examples=["My UPI"],
        json_schema_extra={"not": {"pattern": r"[0-9]([ -]?[0-9]){8}"}},
    ),
]
ProviderRef = Annotated[
    Name,
    AfterValidator(_token),
    Field(
        description="The provider's token for it, never a card or account number",
        examples=["tok_4fJk2"],
        json_schema_extra={"not": {"pattern": _ACCOUNT_NUMBER}},
    ),
]


class EntryView(View):
    id: int
    transfer_id: UUID
    amount: Annotated[ShownMoney, Field(description="INR; negative: it left the wallet")]
    kind: Annotated[
        Literal[
            "purchase", "sale", "revenue_share", "investment", "topup", "withdrawal", "reversal"
        ],
        Field(description="`revenue_share`: of a sale of a device that one invested in"),
    ]
    reference_id: Annotated[
        UUID,
        Field(description="The transaction, investment, top-up or withdrawal that it was for"),
    ]
    listing_id: ListingId | None
    device_id: Annotated[
        UUID | None, Field(description="Whose energy was sold, or what was invested in")
    ]
    energy_kwh: ShownKwh | None
    created_at: ShownInstant


class NewOrder(Body):
    amount: Money
    payment_method_id: UUID


class OrderView(View):
    id: UUID
    kind: Literal["topup", "withdrawal"]
    amount: ShownMoney
    status: Literal["pending", "completed", "failed"]
    payment_method_id: UUID | None
    created_at: ShownInstant
    completed_at: ShownInstant | None


class NewPaymentMethod(Body):
    kind: Literal["upi", "card", "bank"]
    provider: Annotated[Literal["sandbox"], Field(description="Who knows the token")] = "sandbox"
    label: Label
    provider_ref: ProviderRef
    is_default: Flag = False


class PaymentMethodView(View):
    id: UUID
    kind: Literal["upi", "card", "bank"]
    label: str
    provider: str
    provider_ref: str
    is_default: bool
    created_at: ShownInstant


@router.get("/wallet", responses=answers(Forbidden))
async def get_wallet(pool: PoolDep, member: Member) -> Answer[WalletView]:
    """The caller's balance."""
    async with pool.acquire() as conn:
        wallet = await wallets.of(conn, member.user_id)
    if wallet is None:
        raise NotFound(what="wallet")
    return ok(WalletView.model_validate(wallet))


@router.get("/wallet/entries", responses=answers(Forbidden))
async def list_entries(
    pool: PoolDep, member: Member, query: Annotated[IdPageQuery, Query()]
) -> Answer[Page[EntryView]]:
    """Every change of the wallet and what it was for, newest first."""
    before_id = NEWEST_ID.read(query.cursor)
    async with pool.acquire() as conn:
        found = await wallets.entries(
            conn, member.user_id, before_id=before_id, limit=query.limit + 1
        )

    def show(entry: LedgerEntry) -> EntryView:
        return _shown(entry, member)

    return ok(NEWEST_ID.page(found, query.limit, key=lambda entry: entry.id, show=show))


@router.post(
    "/wallet/topups", status_code=201,
    responses=answers(
        Forbidden, NotFound, IdempotencyKeyReused, WalletLimit, PaymentsUnavailable
    ),
)  # fmt: skip
async def top_up(
    services: ServicesDep,
    member: Member,
    body: NewOrder,
    response: Response,
    key: IdempotencyKey = None,
) -> Answer[OrderView]:
    """Ask the provider for money. It is `pending` until the provider's webhook completes it."""
    return await _order(services, member, PaymentKind.TOPUP, body, key, response)


@router.post(
    "/wallet/withdrawals", status_code=201,
    responses=answers(
        Forbidden, NotFound, IdempotencyKeyReused, InsufficientBalance, PaymentsUnavailable,
        PayoutHeld,
    ),
)  # fmt: skip
async def withdraw(
    services: ServicesDep,
    member: Member,
    body: NewOrder,
    response: Response,
    key: IdempotencyKey = None,
) -> Answer[OrderView]:
    """Take money out. It leaves the wallet at once, and comes back if the provider fails.

    What was earned within the hub's `PAYOUT_DELAY` can't be taken out yet.
    """
    return await _order(services, member, PaymentKind.WITHDRAWAL, body, key, response)


@router.get("/payment-methods", responses=answers(Forbidden))
async def list_payment_methods(
    pool: PoolDep, member: Member, query: Annotated[PageQuery, Query()]
) -> Answer[Page[PaymentMethodView]]:
    """The caller's payment methods, newest first."""
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await payments.methods(conn, member.user_id, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda method: (method.created_at, method.id),
            show=PaymentMethodView.model_validate,
        )
    )


@router.post("/payment-methods", status_code=201, responses=answers(Forbidden, QuotaExceeded))
async def add_payment_method(
    pool: PoolDep, settings: SettingsDep, member: Member, body: NewPaymentMethod
) -> Answer[PaymentMethodView]:
    """Add a payment method, by the provider's token. The first becomes the default."""
    async with pool.acquire() as conn, conn.transaction():
        had = await payments.lock_methods(conn, member.user_id)
        check_quota(Quota.PAYMENT_METHODS, had=had, at_most=settings.quota_payment_methods)
        method = await payments.add_method(
            conn,
            member.user_id,
            kind=PaymentMethodKind(body.kind),
            label=body.label,
            provider=body.provider,
            provider_ref=body.provider_ref,
            is_default=body.is_default,
        )
    return created(PaymentMethodView.model_validate(method))


@router.delete("/payment-methods/{method_id}", responses=answers(Forbidden, NotFound))
async def remove_payment_method(pool: PoolDep, member: Member, method_id: Id) -> Answer[None]:
    """Forget a payment method; what was paid with it stays on record."""
    async with pool.acquire() as conn, conn.transaction():
        if not await payments.remove_method(conn, member.user_id, method_id):
            raise NotFound(what="payment method")
    return ok(None)


async def _order(
    services: ServicesDep,
    member: Identity,
    kind: PaymentKind,
    body: NewOrder,
    key: str | None,
    response: Response,
) -> Answer[OrderView]:
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
    return created(OrderView.model_validate(opened.order))


def _shown(entry: LedgerEntry, member: Identity) -> EntryView:
    kind = EntryKind(entry.kind)
    if kind is EntryKind.PURCHASE and entry.amount > 0:
        is_own_sale = entry.seller_id == member.user_id
        kind = EntryKind.SALE if is_own_sale else EntryKind.REVENUE_SHARE
    return EntryView(
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
