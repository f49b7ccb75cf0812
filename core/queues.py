"""The queues whose items may fail one by one."""

from enum import StrEnum


class Queue(StrEnum):
    """Where an item waits for its turn; what its id names stands beside it."""

    PAYMENTS = "payments"  # a top-up or withdrawal that waits for the sandbox provider
    EVENTS = "events"  # an event that waits to be published
    PRESENCE = "presence"  # a device that fell silent
    EXPIRY = "expiry"  # a listing whose window has passed
    PRICES = "prices"  # a listing that is to take its price of a slot
    BROKER_ACCOUNTS = "broker_accounts"  # a device whose account is to change at the broker
