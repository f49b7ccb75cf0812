"""Money that a user earned recently, which an operator may hold back from leaving the wallet.

Held money can be spent on energy: the seller's income is held in turn. It can't be withdrawn, nor
invested: the host of the device could withdraw it at once.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from core.errors import PayoutHeld
from core.ids import UserId
from db.pool import Connection

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
class Payable:
    """A wallet's balance, and how much of it is held. What was spent was the older money."""

    balance: Decimal
    held: Decimal

    @property
    def available(self) -> Decimal:
        return self.balance - self.held


async def check_payable(
    conn: Connection, user_id: UserId, amount: Decimal, *, held_since: datetime
) -> None:
    """Lock a wallet until commit. Raises PayoutHeld if it earned the amount too recently."""
    payable = await lock_payable(conn, user_id, held_since=held_since)
    if payable.available < amount <= payable.balance:
        raise PayoutHeld(held=payable.held, available=payable.available)


async def lock_payable(conn: Connection, user_id: UserId, *, held_since: datetime) -> Payable:
    """What can be withdrawn, where sales and revenue shares since an instant are held.

    Locks the wallet until commit: of two withdrawals the second sees what the first left.
    """
    balance = await conn.fetchval(_LOCK_BALANCE, user_id) or Decimal(0)
    earned = await conn.fetchval(_EARNED_SINCE, user_id, held_since)
    return Payable(balance, min(balance, earned))
