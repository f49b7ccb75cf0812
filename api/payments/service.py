"""Use cases of payments: open and settle a payment order, add and remove a payment method.

Lock order: the idempotency key, the order, then the wallet.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from api.http.idempotency import request_hash
from api.http.usage_limits import Quota, check_quota
from api.payments.webhooks import WebhookEvent
from core.clock import REAL_TIME, Clock
from core.enums import PaymentKind, PaymentMethodKind, PaymentStatus, TransferKind
from core.errors import Invalid, NotFound, PaymentsUnavailable
from core.tokens import Identity
from db import idempotency, payments, wallets
from db.errors import refusals
from db.payments import PaymentMethod, PaymentOrder
from db.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A top-up or withdrawal as the user asks for it. `key`: the idempotency key, if any."""

    kind: PaymentKind
    amount: Decimal
    payment_method_id: UUID
    key: str | None


@dataclass(frozen=True, slots=True)
class OpenedOrder:
    """A payment order. `replayed`: an earlier request with the same key opened it."""

    order: PaymentOrder
    replayed: bool


@dataclass(frozen=True, slots=True)
class PaymentMethodDetails:
    """A payment method as the user adds it. `provider_ref`: the provider's token for it."""

    kind: PaymentMethodKind
    provider: str
    label: str
    provider_ref: str
    is_default: bool


async def open_order(
    pool: Pool,
    providers: Collection[str],
    member: Identity,
    request: PaymentRequest,
    *,
    payout_delay: timedelta = timedelta(0),
    clock: Clock = REAL_TIME,
) -> OpenedOrder:
    """Open a top-up or withdrawal with the provider of the payment method.

    `providers` are the names of those that run here. The provider reports the outcome by webhook.
    A withdrawal leaves the wallet at once, so that the money can't be spent twice. Money that was
    earned within `payout_delay` can't be withdrawn.

    Raises NotFound, PaymentsUnavailable, WalletLimit, InsufficientBalance, PayoutHeld,
    IdempotencyKeyReused.
    """
    order_id = uuid4()
    async with pool.acquire() as conn, conn.transaction():
        earlier_id = await _claim_key(conn, member, request, order_id)
        if earlier_id is not None:
            earlier = await payments.order(conn, earlier_id)
            assert earlier is not None
            return OpenedOrder(earlier, replayed=True)
        method = await payments.method(conn, member.user_id, request.payment_method_id)
        if method is None:
            raise NotFound(what="payment method")
        if method.provider not in providers:
            raise PaymentsUnavailable
        transfer_id = None
        if request.kind is PaymentKind.TOPUP:
            await wallets.check_room(conn, member.user_id, request.amount)
        else:
            if payout_delay:
                held_since = clock.now() - payout_delay
                await wallets.check_payable(
                    conn, member.user_id, request.amount, held_since=held_since
                )
            transfer_id = await _take_out(conn, member, request, order_id, method)
        order = await payments.open_order(
            conn,
            order_id=order_id,
            user_id=member.user_id,
            method=method,
            kind=request.kind,
            amount=request.amount,
            transfer_id=transfer_id,
        )
    return OpenedOrder(order, replayed=False)


async def settle(pool: Pool, provider: str, event: WebhookEvent) -> bool:
    """Settle a payment order by a provider's event. Return False if it was settled before.

    Raises NotFound, Invalid, WalletLimit.
    """
    async with pool.acquire() as conn, conn.transaction():
        order = await payments.lock_order(conn, event.order_id, provider)
        if order is None:
            raise NotFound(what="payment order")
        if event.amount != order.amount:
            raise Invalid(field="amount", allowed="must be the order's")
        if not await payments.record_event(conn, provider, event.event_id, order.id):
            return False
        if order.status is not PaymentStatus.PENDING:
            return False
        await _close(conn, order, succeeded=event.type == "payment.succeeded")
    return True


async def add_method(
    pool: Pool, member: Identity, new: PaymentMethodDetails, *, quota_payment_methods: int
) -> PaymentMethod:
    """Add a payment method; the first becomes the default. Raises QuotaExceeded."""
    async with pool.acquire() as conn, conn.transaction():
        count = await payments.lock_methods(conn, member.user_id)
        check_quota(Quota.PAYMENT_METHODS, had=count, at_most=quota_payment_methods)
        return await payments.add_method(
            conn,
            member.user_id,
            kind=new.kind,
            label=new.label,
            provider=new.provider,
            provider_ref=new.provider_ref,
            is_default=new.is_default,
        )


async def remove_method(pool: Pool, member: Identity, method_id: UUID) -> None:
    """Remove a payment method; payments made with it stay on record. Raises NotFound."""
    async with pool.acquire() as conn, conn.transaction():
        if not await payments.remove_method(conn, member.user_id, method_id):
            raise NotFound(what="payment method")


async def _take_out(
    conn: Connection,
    member: Identity,
    request: PaymentRequest,
    order_id: UUID,
    method: PaymentMethod,
) -> UUID:
    """Move the amount of a withdrawal out of the wallet; return the id of the transfer.

    Raises InsufficientBalance.
    """
    with refusals(total_price=request.amount):
        return await wallets.move(
            conn,
            kind=TransferKind.WITHDRAWAL,
            reference_id=order_id,
            provider=method.provider,
            user_id=member.user_id,
            amount=-request.amount,
        )


async def _close(conn: Connection, order: PaymentOrder, *, succeeded: bool) -> None:
    """Close a payment order, and move the money of a completed top-up or failed withdrawal."""
    # A user who was removed has no wallet: nothing can be moved.
    succeeded = succeeded and order.user_id is not None
    transfer_id = None
    if order.user_id is not None and succeeded == (order.kind is PaymentKind.TOPUP):
        transfer_id = await wallets.move(
            conn,
            kind=TransferKind.TOPUP if succeeded else TransferKind.REVERSAL,
            reference_id=order.id,
            provider=order.provider,
            user_id=order.user_id,
            amount=order.amount,
        )
    status = PaymentStatus.COMPLETED if succeeded else PaymentStatus.FAILED
    # A withdrawal keeps the transfer by which it left the wallet.
    topup_id = transfer_id if order.kind is PaymentKind.TOPUP else None
    await payments.settle(conn, order.id, status, transfer_id=topup_id)


async def _claim_key(
    conn: Connection, member: Identity, request: PaymentRequest, order_id: UUID
) -> UUID | None:
    """Claim the idempotency key for a new order; return the order it was claimed for before."""
    if request.key is None:
        return None
    return await idempotency.claim(
        conn,
        user_id=member.user_id,
        operation=request.kind,
        key=request.key,
        request_hash=request_hash(request.amount, request.payment_method_id),
        result=order_id,
    )
