"""Money in and out. Lock order: the key, the order, then the wallet."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from api.http.idempotency import request_hash
from api.payments.webhooks import WebhookEvent
from core.clock import REAL_TIME, Clock
from core.enums import PaymentKind, PaymentStatus, TransferKind
from core.errors import Invalid, NotFound, PaymentsUnavailable, PayoutHeld
from core.tokens import Identity
from db import idempotency, payments, payouts, wallets
from db.errors import refusals
from db.payments import PaymentOrder
from db.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    kind: PaymentKind
    amount: Decimal
    payment_method_id: UUID
    key: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """`replayed`: the same request opened it before."""

    order: PaymentOrder
    replayed: bool


async def open_order(
    pool: Pool,
    providers: Collection[str],
    member: Identity,
    request: PaymentRequest,
    *,
    payout_delay: timedelta = timedelta(0),
    clock: Clock = REAL_TIME,
) -> Opened:
    """Ask one of the providers for money, or to take some: it answers by webhook.

    A withdrawal leaves the wallet at once, so that nobody can spend it twice. What was earned
    within `payout_delay` stays in it.
    Raises NotFound, PaymentsUnavailable, WalletLimit, InsufficientBalance, PayoutHeld,
    IdempotencyKeyReused.
    """
    order_id = uuid4()
    async with pool.acquire() as conn, conn.transaction():
        earlier_id = await _claim(conn, member, request, order_id)
        if earlier_id is not None:
            earlier = await payments.order(conn, earlier_id)
            assert earlier is not None
            return Opened(earlier, replayed=True)
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
                await _check_payable(conn, member, request.amount, held_since)
            with refusals(total_price=request.amount):
                transfer_id = await wallets.move(
                    conn,
                    kind=TransferKind.WITHDRAWAL,
                    reference_id=order_id,
                    provider=method.provider,
                    user_id=member.user_id,
                    amount=-request.amount,
                )
        order = await payments.open_order(
            conn,
            order_id=order_id,
            user_id=member.user_id,
            method=method,
            kind=request.kind,
            amount=request.amount,
            transfer_id=transfer_id,
        )
    return Opened(order, replayed=False)


async def settle(pool: Pool, provider: str, event: WebhookEvent) -> bool:
    """Take a provider's answer. False: it was counted before.

    Raises NotFound, Invalid, WalletLimit.
    """
    async with pool.acquire() as conn, conn.transaction():
        order = await payments.lock_order(conn, event.order_id, provider)
        if order is None:
            raise NotFound(what="payment order")
        if event.amount != order.amount:
            raise Invalid(field="amount", allowed="must be the order's")
        if not await payments.note_event(conn, provider, event.event_id, order.id):
            return False
        if order.status is not PaymentStatus.PENDING:
            return False
        await _close(conn, order, succeeded=event.type == "payment.succeeded")
    return True


async def _check_payable(
    conn: Connection, member: Identity, amount: Decimal, held_since: datetime
) -> None:
    """Raises PayoutHeld where the balance would do, but was earned too lately."""
    payable = await payouts.lock_payable(conn, member.user_id, held_since=held_since)
    if payable.available < amount <= payable.balance:
        raise PayoutHeld(held=payable.held, available=payable.available)


async def _close(conn: Connection, order: PaymentOrder, *, succeeded: bool) -> None:
    """Move what is still to be moved: a top-up that came, a withdrawal that did not go."""
    # The wallet of a user who is gone is gone too.
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
    # A withdrawal keeps the transfer that it left with.
    topup_id = transfer_id if order.kind is PaymentKind.TOPUP else None
    await payments.settle(conn, order.id, status, transfer_id=topup_id)


async def _claim(
    conn: Connection, member: Identity, request: PaymentRequest, order_id: UUID
) -> UUID | None:
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
