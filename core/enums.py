"""Closed sets of values that the database, the API and the events share.

Each value is the text used in SQL, JSON and MQTT, so it never changes. A CHECK constraint of the
column contains the same set. Sets that belong to one rule are defined beside the rule: `Quality`
and `Reason` in `core.intervals`, `RejectionReason` in `core.readings`, `FlagKind` in `core.flags`,
`Dialect` in `core.dialects`, `EventType` in `core.events`.
"""

from enum import StrEnum


class UserRole(StrEnum):
    """The role that a user signed up with. Only a command creates an `ADMIN`, who has no wallet."""

    BUYER = "buyer"
    HOST = "host"
    INVESTOR = "investor"
    ADMIN = "admin"


class DeviceKind(StrEnum):
    INVERTER = "inverter"
    METER = "meter"
    BATTERY = "battery"


class DeviceStatus(StrEnum):
    """`PENDING`: nothing was received from the device since its registration."""

    PENDING = "pending"
    ONLINE = "online"
    OFFLINE = "offline"
    FAULT = "fault"


class ListingStatus(StrEnum):
    """`SOLD`: open, with no energy left. `EXPIRED` and `CANCELLED` are final."""

    ACTIVE = "active"
    PAUSED = "paused"
    SOLD = "sold"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class PausedBy(StrEnum):
    """A listing that its device paused resumes by itself once the device may sell again."""

    SELLER = "seller"
    DEVICE = "device"


class Pricing(StrEnum):
    """`DYNAMIC`: the listing takes the local price of each slot, within its floor and cap."""

    FIXED = "fixed"
    DYNAMIC = "dynamic"


class TransactionStatus(StrEnum):
    """A purchase is recorded only when it is complete."""

    COMPLETED = "completed"


class TransferKind(StrEnum):
    """The reason for a transfer. `REVERSAL` returns the amount of a withdrawal that failed."""

    PURCHASE = "purchase"
    INVESTMENT = "investment"
    TOPUP = "topup"
    WITHDRAWAL = "withdrawal"
    REVERSAL = "reversal"


class EntryKind(StrEnum):
    """A transfer's kind as one wallet's owner sees it: a purchase is a sale to its seller."""

    PURCHASE = "purchase"
    SALE = "sale"
    REVENUE_SHARE = "revenue_share"
    INVESTMENT = "investment"
    TOPUP = "topup"
    WITHDRAWAL = "withdrawal"
    REVERSAL = "reversal"


class PaymentKind(StrEnum):
    """Money into a wallet, or out of it."""

    TOPUP = "topup"
    WITHDRAWAL = "withdrawal"


class PaymentStatus(StrEnum):
    """`PENDING` until the provider reports the outcome."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class PaymentMethodKind(StrEnum):
    UPI = "upi"
    CARD = "card"
    BANK = "bank"


class FlagState(StrEnum):
    """`CONFIRMED`: an administrator looked into the flag and lets the device sell."""

    OPEN = "open"
    CONFIRMED = "confirmed"


class ActionSubject(StrEnum):
    """The kind of thing that an administrator's recorded action changed."""

    USER = "user"
    DEVICE = "device"


class Queue(StrEnum):
    """Queues whose items can fail one by one (`db/failed_items.py`)."""

    PAYMENTS = "payments"  # a top-up or withdrawal that waits for the sandbox provider
    EVENTS = "events"  # an event that waits to be published
    PRESENCE = "presence"  # a device that is due to be marked offline
    EXPIRY = "expiry"  # a listing whose window has passed
    PRICES = "prices"  # a listing whose price of the slot is due
    BROKER_ACCOUNTS = "broker_accounts"  # a device whose broker account is due to change
    LATE_READINGS = "late_readings"  # a device whose late readings wait to be accounted
