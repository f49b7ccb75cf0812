"""The use case of an investment.

Lock order: the idempotency key, the host (shared), the funding of the device, both wallets by user
id. A purchase locks listings, then wallets by user id, so the two can't deadlock.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from api.http.idempotency import request_hash
from core.clock import REAL_TIME, Clock
from core.enums import TransferKind
from core.errors import NotFound
from core.ids import DeviceId
from core.revenue import ExpectedTerms, check_investment
from core.tokens import Identity
from db import idempotency, investments, wallets
from db.errors import refusals
from db.investments import Investment
from db.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class InvestmentRequest:
    """An investment as the investor asks for it. `key`: the idempotency key, if any."""

    device_id: DeviceId
    amount: Decimal
    key: str | None
    expected: ExpectedTerms = field(default_factory=ExpectedTerms)


@dataclass(frozen=True, slots=True)
class Invested:
    """An investment. `replayed`: an earlier request with the same key made it."""

    investment: Investment
    replayed: bool


async def invest(
    pool: Pool,
    investor: Identity,
    request: InvestmentRequest,
    *,
    payout_delay: timedelta = timedelta(0),
    clock: Clock = REAL_TIME,
) -> Invested:
    """Invest in a device: pay the host, and give the investor a share of later sales.

    Money that was earned within `payout_delay` stays in the wallet.
    Raises NotFound, NotOpenForFunding, TermsChanged, FundingExceeded, TooManyInvestors,
    InsufficientBalance, PayoutHeld, WalletLimit, IdempotencyKeyReused.
    """
    investment_id = uuid4()
    async with pool.acquire() as conn, conn.transaction():
        earlier_id = await _claim_key(conn, investor, request, investment_id)
        if earlier_id is None:
            held_since = clock.now() - payout_delay if payout_delay else None
            await _pay(conn, investor, request, investment_id, held_since)
        investment = await investments.by_id(conn, earlier_id or investment_id)
    assert investment is not None
    return Invested(investment, replayed=earlier_id is not None)


async def _pay(
    conn: Connection,
    investor: Identity,
    request: InvestmentRequest,
    investment_id: UUID,
    held_since: datetime | None,
) -> None:
    # Locked before the check: a host who is being deactivated takes no more money.
    host_is_active = await investments.hold_host(conn, request.device_id)
    funding = await investments.lock_funding(conn, request.device_id)
    if funding is None:
        raise NotFound(what="device")
    check_investment(
        funding.terms if host_is_active else None,
        request.expected,
        funded=funding.funded,
        investments=await investments.count(conn, request.device_id),
        amount=request.amount,
    )
    await wallets.lock(conn, [investor.user_id, funding.owner_id])
    if held_since is not None:
        await wallets.check_payable(conn, investor.user_id, request.amount, held_since=held_since)
    with refusals(total_price=request.amount):
        transfer_id = await wallets.pay(
            conn,
            kind=TransferKind.INVESTMENT,
            reference_id=investment_id,
            payer_id=investor.user_id,
            payee_id=funding.owner_id,
            amount=request.amount,
        )
    await investments.add(
        conn,
        investment_id=investment_id,
        investor_id=investor.user_id,
        device_id=request.device_id,
        amount=request.amount,
        transfer_id=transfer_id,
    )


async def _claim_key(
    conn: Connection, investor: Identity, request: InvestmentRequest, investment_id: UUID
) -> UUID | None:
    """Claim the idempotency key; return the investment it was claimed for before."""
    if request.key is None:
        return None
    return await idempotency.claim(
        conn,
        user_id=investor.user_id,
        operation="investment",
        key=request.key,
        request_hash=request_hash(
            request.device_id,
            request.amount,
            request.expected.funding_target,
            request.expected.revenue_share,
        ),
        result=investment_id,
    )
