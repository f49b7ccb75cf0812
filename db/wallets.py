"""Wallets, and the balanced transfers that change their balances.

An operator may hold back recent earnings. Held money can be spent on energy, since the seller's
income is held in turn. It can't be withdrawn, nor invested: the host of the device could withdraw
it at once.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import TransferKind
from core.errors import PayoutHeld, WalletLimit
from core.ids import DeviceId, ListingId, UserId
from core.units import BALANCE_MAX
from db.pool import Connection, Record

_OF = "SELECT user_id, currency, balance FROM wallets WHERE user_id = $1"

_ENTRIES = """
SELECT e.id, e.transfer_id, e.amount, e.created_at, t.kind, t.reference_id,
       x.listing_id, x.seller_id, x.energy_kwh, coalesce(l.device_id, i.device_id) AS device_id
  FROM ledger_entries e
  JOIN ledger_transfers t ON t.id = e.transfer_id
  LEFT JOIN energy_transactions x ON x.transfer_id = e.transfer_id
  LEFT JOIN energy_listings l ON l.id = x.listing_id
  LEFT JOIN investments i ON i.transfer_id = e.transfer_id
 WHERE e.account = 'wallet:' || $1::uuid AND e.id < $2
 ORDER BY e.id DESC LIMIT $3
"""

_MOVE = """
WITH transfer AS (
    INSERT INTO ledger_transfers (kind, reference_id) VALUES ($1, $2) RETURNING id
), entries AS (
    INSERT INTO ledger_entries (transfer_id, account, amount)
    SELECT id, 'external:' || $3::text, -$5::numeric FROM transfer
     UNION ALL
    SELECT id, 'wallet:' || $4::uuid, $5::numeric FROM transfer
), wallet AS (
    UPDATE wallets SET balance = balance + $5::numeric
     WHERE user_id = $4::uuid AND balance <= $6::numeric - $5::numeric
    RETURNING user_id
)
SELECT transfer.id FROM transfer, wallet
"""

_LOCK = "SELECT FROM wallets WHERE user_id = ANY($1::uuid[]) ORDER BY user_id FOR NO KEY UPDATE"

_PAY = """
WITH transfer AS (
    INSERT INTO ledger_transfers (kind, reference_id) VALUES ($1, $2) RETURNING id
), moved (user_id, amount) AS (
    VALUES ($3::uuid, -$5::numeric), ($4::uuid, $5::numeric)
), entries AS (
    INSERT INTO ledger_entries (transfer_id, account, amount)
    SELECT id, 'wallet:' || user_id, amount FROM transfer, moved
), wallet AS (
    UPDATE wallets w SET balance = w.balance + moved.amount FROM moved
     WHERE w.user_id = moved.user_id AND w.balance <= $6::numeric - moved.amount
    RETURNING w.user_id
)
SELECT id FROM transfer WHERE (SELECT count(*) FROM wallet) = 2
"""

# A pending order may still raise the balance: a top-up, or a withdrawal that fails.
_ROOM = """
SELECT $2::numeric - w.balance - coalesce((
       SELECT sum(o.amount) FROM payment_orders o
        WHERE o.user_id = w.user_id AND o.status = 'pending'), 0)
  FROM wallets w WHERE w.user_id = $1
"""

_ANNOUNCE = """
INSERT INTO outbox (type, channels, data)
SELECT 'wallet.updated', ARRAY['user:' || w.user_id], wallet_json(w)
  FROM wallets w WHERE w.user_id = $1
"""

_LOCK_BALANCE = "SELECT balance FROM wallets WHERE user_id = $1 FOR NO KEY UPDATE"

_EARNED_SINCE = """
SELECT (SELECT coalesce(sum(seller_amount - investor_amount), 0) FROM energy_transactions
         WHERE seller_id = $1 AND created_at > $2)
     + (SELECT coalesce(sum(r.amount), 0)
          FROM investments i
          JOIN revenue_shares r ON r.investment_id = i.id
          JOIN energy_transactions t ON t.id = r.transaction_id
         WHERE i.investor_id = $1 AND t.created_at > $2)
"""


@dataclass(frozen=True, slots=True)
class Wallet:
    user_id: UserId
    currency: str
    balance: Decimal


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A change of a wallet's balance. `kind` determines the table that `reference_id` refers to."""

    id: int
    transfer_id: UUID
    amount: Decimal
    created_at: datetime
    kind: TransferKind
    reference_id: UUID
    listing_id: ListingId | None
    seller_id: UserId | None
    device_id: DeviceId | None
    energy_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class Payable:
    """A wallet's balance, and the part of it that is held. Older money is spent first."""

    balance: Decimal
    held: Decimal

    @property
    def available(self) -> Decimal:
        return self.balance - self.held


async def of(conn: Connection, user_id: UserId) -> Wallet | None:
    """Return the wallet of a user."""
    row = await conn.fetchrow(_OF, user_id)
    return Wallet(row["user_id"], row["currency"], row["balance"]) if row else None


async def entries(
    conn: Connection, user_id: UserId, *, before_id: int, limit: int
) -> list[LedgerEntry]:
    """Return a wallet's entries, newest first."""
    return [_entry(row) for row in await conn.fetch(_ENTRIES, user_id, before_id, limit)]


async def lock(conn: Connection, user_ids: Collection[UserId]) -> None:
    """Lock wallets by user id until commit."""
    await conn.execute(_LOCK, list(user_ids))


async def move(
    conn: Connection,
    *,
    kind: TransferKind,
    reference_id: UUID,
    provider: str,
    user_id: UserId,
    amount: Decimal,
) -> UUID:
    """Move money from a provider to a wallet (a negative amount: back), and announce the wallet.

    Returns the transfer. Locks the wallet until commit. Raises InsufficientBalance, and
    WalletLimit: the caller then rolls the transaction back.
    """
    transfer_id: UUID | None = await conn.fetchval(
        _MOVE, kind, reference_id, provider, user_id, amount, BALANCE_MAX
    )
    if transfer_id is None:
        raise _limit_reached()
    await conn.execute(_ANNOUNCE, user_id)
    return transfer_id


async def pay(
    conn: Connection,
    *,
    kind: TransferKind,
    reference_id: UUID,
    payer_id: UserId,
    payee_id: UserId,
    amount: Decimal,
) -> UUID:
    """Move money from one wallet to another, and announce both.

    Returns the transfer. Locks the wallets by user id until commit. Raises InsufficientBalance, and
    WalletLimit: the caller then rolls the transaction back.
    """
    await lock(conn, [payer_id, payee_id])
    transfer_id: UUID | None = await conn.fetchval(
        _PAY, kind, reference_id, payer_id, payee_id, amount, BALANCE_MAX
    )
    if transfer_id is None:
        raise _limit_reached()
    for user_id in sorted((payer_id, payee_id)):
        await conn.execute(_ANNOUNCE, user_id)
    return transfer_id


async def check_room(conn: Connection, user_id: UserId, amount: Decimal) -> None:
    """Lock a wallet until commit. Raises WalletLimit if the amount may exceed its limit."""
    await lock(conn, [user_id])
    room: Decimal | None = await conn.fetchval(_ROOM, user_id, BALANCE_MAX)
    if room is None or amount > room:
        raise _limit_reached()


async def check_payable(
    conn: Connection, user_id: UserId, amount: Decimal, *, held_since: datetime
) -> None:
    """Lock a wallet until commit. Raises PayoutHeld if it earned the amount too recently."""
    payable = await lock_payable(conn, user_id, held_since=held_since)
    if payable.available < amount <= payable.balance:
        raise PayoutHeld(held=payable.held, available=payable.available)


async def lock_payable(conn: Connection, user_id: UserId, *, held_since: datetime) -> Payable:
    """Lock a wallet until commit and return its balance; earnings since an instant are held.

    Of two withdrawals, the second sees the balance that the first left.
    """
    balance = await conn.fetchval(_LOCK_BALANCE, user_id) or Decimal(0)
    earned = await conn.fetchval(_EARNED_SINCE, user_id, held_since)
    return Payable(balance, min(balance, earned))


def _limit_reached() -> WalletLimit:
    allowed = f"a wallet holds at most {BALANCE_MAX} INR, including pending payments"
    return WalletLimit(field="amount", allowed=allowed)


def _entry(row: Record) -> LedgerEntry:
    return LedgerEntry(
        id=row["id"],
        transfer_id=row["transfer_id"],
        amount=row["amount"],
        created_at=row["created_at"],
        kind=TransferKind(row["kind"]),
        reference_id=row["reference_id"],
        listing_id=row["listing_id"],
        seller_id=row["seller_id"],
        device_id=row["device_id"],
        energy_kwh=row["energy_kwh"],
    )
