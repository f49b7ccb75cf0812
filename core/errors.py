"""Errors of the domain: facts with stable codes. No HTTP here.

The docstring of a class is its message to a person. Names in braces in it are replaced by the facts
that the error was raised with. Each class derives from a kind, such as `Conflict`;
`api/http/errors.py` maps kinds to statuses.
"""

from typing import ClassVar


class DomainError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(self.message)

    @property
    def message(self) -> str:
        return " ".join((self.__doc__ or "").split()).format_map(_Facts(self.facts))


class _Facts(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return f"unknown {key}"


# Kinds ---------------------------------------------------------------------------------------


class Invalid(DomainError):
    """{field}: {allowed}."""

    code = "invalid"


class Unauthenticated(DomainError):
    """Sign in first."""

    code = "unauthenticated"


class Forbidden(DomainError):
    """You may not do this."""

    code = "forbidden"


class NotFound(DomainError):
    """There is no such {what}."""

    code = "not_found"


class Conflict(DomainError):
    """The current state does not allow this."""

    code = "conflict"


class TooMany(DomainError):
    """Too many requests; try again in {retry_after_s} seconds."""

    code = "rate_limited"


class Unavailable(DomainError):
    """This hub does not offer that at the moment."""

    code = "unavailable"


class GoneFromQueue(Conflict):
    """An event can't return to its queue: its subscribers have reloaded since."""

    code = "gone_from_queue"


# Sign-in -------------------------------------------------------------------------------------


class BadCredentials(Unauthenticated):
    """The email or the password is wrong."""

    code = "bad_credentials"


class BadToken(Unauthenticated):
    """The token is missing, malformed or not from this hub."""

    code = "bad_token"


class ExpiredToken(Unauthenticated):
    """The token has expired."""

    code = "expired_token"


class AccountInactive(Unauthenticated):
    """This account is deactivated."""

    code = "account_inactive"


class BadSignature(Unauthenticated):
    """The signature does not match the message."""

    code = "bad_signature"


class EmailTaken(Conflict):
    """An account with this email exists already."""

    code = "email_taken"


class OwnAccount(Conflict):
    """An administrator can't deactivate their own account."""

    code = "own_account"


# Devices and places --------------------------------------------------------------------------


class ExternalIdTaken(Conflict):
    """A device with this dialect and external id is registered already."""

    code = "external_id_taken"


class CapacityFixed(Conflict):
    """The capacity can't change any more: readings were accounted with it."""

    code = "capacity_fixed"


class CapacityNotApproved(Conflict):
    """A device of more than {capacity_max_w} W sells only after an administrator approved it."""

    code = "capacity_not_approved"


class DeviceFrozen(Conflict):
    """An administrator froze this device: it can't sell, and its owner can't remove it."""

    code = "device_frozen"


class DeviceFlagged(Conflict):
    """This device's energy looks wrong: it can't sell until an administrator has confirmed it."""

    code = "device_flagged"


class FundingTermsFixed(Conflict):
    """The funding terms can't change any more: the device has investors."""

    code = "funding_terms_fixed"


class DeviceFunded(Conflict):
    """This device has investors: only an administrator can remove it."""

    code = "device_funded"


class NotOpenForFunding(Conflict):
    """The device is not open for funding."""

    code = "not_open_for_funding"


class TermsChanged(Conflict):
    """The device's terms are now {revenue_share} of its sales for {funding_target} INR in all."""

    code = "terms_changed"


class FundingExceeded(Conflict):
    """{left} INR are left to fund."""

    code = "funding_exceeded"


class TooManyInvestors(Conflict):
    """The device already has {at_most} investments, which is the maximum."""

    code = "too_many_investors"


class NoLocation(Conflict):
    """No place was given, and there is no default address."""

    code = "no_location"


class TooManyAddresses(Conflict):
    """You already have {at_most} addresses, which is the maximum; remove one first."""

    code = "too_many_addresses"


# Market --------------------------------------------------------------------------------------


class OpenListingExists(Conflict):
    """The device already has an open listing that follows its meter."""

    code = "open_listing_exists"


class ListingNotActive(Conflict):
    """The listing is {status}."""

    code = "listing_not_active"


class IllegalMove(Conflict):
    """A listing that is {status} can't become {wanted}."""

    code = "illegal_move"


class OutsideWindow(Conflict):
    """The listing sells from {available_from} to {available_to}."""

    code = "outside_window"


class InsufficientEnergy(Conflict):
    """{asked_kwh} kWh were asked for; {left_kwh} kWh are left."""

    code = "insufficient_energy"


class InsufficientBalance(Conflict):
    """The wallet's balance does not cover {total_price} INR."""

    code = "insufficient_balance"


class PayoutHeld(Conflict):
    """{held} INR were earned too recently to be withdrawn or invested; {available} INR can be
    withdrawn now."""

    code = "payout_held"


class PriceChanged(Conflict):
    """The price is now {price_per_kwh} INR per kWh."""

    code = "price_changed"


class OwnListing(Conflict):
    """The listing is your own."""

    code = "own_listing"


class QuotaExceeded(Conflict):
    """You already have {at_most} {what}, which is the maximum; end one of them first."""

    code = "quota_exceeded"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class PurchaseTooSmall(Conflict):
    """A purchase takes at least {least_kwh} kWh, or all {left_kwh} kWh that are left."""

    code = "purchase_too_small"


class CostsNothing(PurchaseTooSmall):
    """At {price_per_kwh} INR per kWh, a purchase must be large enough to cost at least 0.01 INR."""


# Payments ------------------------------------------------------------------------------------


class PaymentsUnavailable(Unavailable):
    """This hub has no payment provider for this: it takes no top-ups or withdrawals."""

    code = "payments_unavailable"


class WalletLimit(Invalid):
    """{field}: {allowed}."""

    code = "wallet_limit"


class PayeeWalletLimit(Conflict):
    """The payee's wallet would exceed its maximum balance of {at_most} INR."""

    code = "payee_wallet_limit"
