"""Payment methods, and top-ups and withdrawals as orders to a provider."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import PaymentKind, PaymentMethodKind, PaymentStatus
from core.ids import UserId
from db.pool import Connection, Record

_METHODS = """
SELECT id, kind, label, provider, provider_ref, is_default, created_at FROM payment_methods
 WHERE user_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4
"""

_METHOD = """
SELECT id, kind, label, provider, provider_ref, is_default, created_at FROM payment_methods
 WHERE user_id = $1 AND id = $2
"""

_COUNT_METHODS = "SELECT count(*) FROM payment_methods WHERE user_id = $1"

# Transactions that add a method of one user run one after the other, so that exactly one method is
# the default.
_LOCK_OWNER = "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE"

_UNSET_DEFAULT = "UPDATE payment_methods SET is_default = false WHERE user_id = $1 AND is_default"

_ADD_METHOD = """
INSERT INTO payment_methods (user_id, kind, label, provider, provider_ref, is_default)
VALUES ($1, $2, $3, $4, $5,
        NOT EXISTS (SELECT FROM payment_methods WHERE user_id = $1 AND is_default))
RETURNING id, kind, label, provider, provider_ref, is_default, created_at
"""

_REMOVE_METHOD = "DELETE FROM payment_methods WHERE user_id = $1 AND id = $2 RETURNING id"

_OPEN = """
INSERT INTO payment_orders (id, user_id, payment_method_id, provider, kind, amount, transfer_id)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, user_id, payment_method_id, provider, kind, amount, status, created_at, completed_at
"""

_ORDER = """
SELECT id, user_id, payment_method_id, provider, kind, amount, status, created_at, completed_at
  FROM payment_orders WHERE id = $1
"""

_LOCK_ORDER = """
SELECT id, user_id, payment_method_id, provider, kind, amount, status, created_at, completed_at
  FROM payment_orders WHERE id = $1 AND provider = $2 FOR NO KEY UPDATE
"""

_SETTLE = """
UPDATE payment_orders
   SET status = $2, transfer_id = coalesce($3, transfer_id), completed_at = hub_now()
 WHERE id = $1
"""

_PENDING = """
SELECT id, user_id, payment_method_id, provider, kind, amount, status, created_at, completed_at
  FROM payment_orders o
 WHERE provider = $1 AND status = 'pending'
   AND NOT EXISTS (SELECT FROM failed_items f
                    WHERE f.queue = 'payments' AND f.item = o.id::text
                      AND (f.retry_at IS NULL OR f.retry_at > clock_timestamp()))
 ORDER BY created_at LIMIT $2
"""

_RECORD_EVENT = """
INSERT INTO payment_events (provider, event_id, order_id) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING RETURNING event_id
"""


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """A payment method of a user."""

    id: UUID
    kind: PaymentMethodKind
    label: str
    provider: str
    # The provider's token for the method: never a card or account number.
    provider_ref: str
    is_default: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """A top-up or withdrawal. The id of a deleted user is None."""

    id: UUID
    user_id: UserId | None
    payment_method_id: UUID | None
    provider: str
    kind: PaymentKind
    amount: Decimal
    status: PaymentStatus
    created_at: datetime
    completed_at: datetime | None


async def methods(
    conn: Connection, user_id: UserId, *, before: tuple[datetime, UUID], limit: int
) -> list[PaymentMethod]:
    """Return a user's payment methods, newest first."""
    return [_method(row) for row in await conn.fetch(_METHODS, user_id, *before, limit)]


async def method(conn: Connection, user_id: UserId, method_id: UUID) -> PaymentMethod | None:
    """Return a payment method of a user."""
    row = await conn.fetchrow(_METHOD, user_id, method_id)
    return _method(row) if row else None


async def lock_methods(conn: Connection, user_id: UserId) -> int:
    """Return the number of a user's methods. No other transaction adds one until commit."""
    await conn.execute(_LOCK_OWNER, user_id)
    found: int = await conn.fetchval(_COUNT_METHODS, user_id)
    return found


async def add_method(
    conn: Connection,
    user_id: UserId,
    *,
    kind: PaymentMethodKind,
    label: str,
    provider: str,
    provider_ref: str,
    is_default: bool,
) -> PaymentMethod:
    """Create a method. It becomes the default if `is_default`, or if the user has no default.

    The caller has called `lock_methods`.
    """
    if is_default:
        await conn.execute(_UNSET_DEFAULT, user_id)
    row = await conn.fetchrow(_ADD_METHOD, user_id, kind, label, provider, provider_ref)
    assert row is not None
    return _method(row)


async def remove_method(conn: Connection, user_id: UserId, method_id: UUID) -> bool:
    """Delete a method. False: the user has no such method."""
    return await conn.fetchval(_REMOVE_METHOD, user_id, method_id) is not None


async def open_order(
    conn: Connection,
    *,
    order_id: UUID,
    user_id: UserId,
    method: PaymentMethod,
    kind: PaymentKind,
    amount: Decimal,
    transfer_id: UUID | None = None,
) -> PaymentOrder:
    """Create a pending order. A withdrawal has its transfer already."""
    row = await conn.fetchrow(
        _OPEN, order_id, user_id, method.id, method.provider, kind, amount, transfer_id
    )
    assert row is not None
    return _order(row)


async def order(conn: Connection, order_id: UUID) -> PaymentOrder | None:
    """Return an order."""
    row = await conn.fetchrow(_ORDER, order_id)
    return _order(row) if row else None


async def lock_order(conn: Connection, order_id: UUID, provider: str) -> PaymentOrder | None:
    """Lock an order of a provider until commit and return it."""
    row = await conn.fetchrow(_LOCK_ORDER, order_id, provider)
    return _order(row) if row else None


async def settle(
    conn: Connection, order_id: UUID, status: PaymentStatus, *, transfer_id: UUID | None = None
) -> None:
    """Settle a pending order. A completed top-up gets its transfer."""
    await conn.execute(_SETTLE, order_id, status, transfer_id)


async def pending(conn: Connection, provider: str, limit: int) -> list[PaymentOrder]:
    """Return the oldest pending orders of a provider, except those whose retry is not due."""
    return [_order(row) for row in await conn.fetch(_PENDING, provider, limit)]


async def record_event(conn: Connection, provider: str, event_id: str, order_id: UUID) -> bool:
    """Record a provider's event. False: it was recorded before."""
    return await conn.fetchval(_RECORD_EVENT, provider, event_id, order_id) is not None


def _method(row: Record) -> PaymentMethod:
    return PaymentMethod(
        id=row["id"],
        kind=PaymentMethodKind(row["kind"]),
        label=row["label"],
        provider=row["provider"],
        provider_ref=row["provider_ref"],
        is_default=row["is_default"],
        created_at=row["created_at"],
    )


def _order(row: Record) -> PaymentOrder:
    return PaymentOrder(
        id=row["id"],
        user_id=row["user_id"],
        payment_method_id=row["payment_method_id"],
        provider=row["provider"],
        kind=PaymentKind(row["kind"]),
        amount=row["amount"],
        status=PaymentStatus(row["status"]),
        created_at=row["created_at"],
        completed_at=row["completed_at"],
    )
