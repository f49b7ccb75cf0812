"""What the database refuses, as one domain error each."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncpg

from core import errors
from core.errors import DomainError

_GOING_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# The database can't be reached, is going away, or is too busy; the same call may work later.
UNAVAILABLE = (
    *_GOING_AWAY,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,  # it took longer than `database_statement_timeout`
    asyncpg.DeadlockDetectedError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg, used between the server's last words and its hanging up
    ConnectionError,
    TimeoutError,
    OSError,
)
DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError)

# A replica stops a statement that looks at what its log wants to remove or lock.
TAKEN_BACK_BY_REPLAY = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

# These data will be refused however often they are written.
UNSTORABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_BY_CODE: dict[str, type[DomainError]] = {
    error.code: error
    for error in (
        errors.AccountInactive,
        errors.ListingNotActive,
        errors.OutsideWindow,
        errors.InsufficientEnergy,
        errors.InsufficientBalance,
        errors.PriceChanged,
        errors.OwnListing,
        errors.IdempotencyKeyReused,
    )
}
_NOT_FOUND = {
    "listing_not_found": "listing",
    "payment_method_not_found": "payment method",
}
_BY_CONSTRAINT: dict[str, type[DomainError]] = {
    "users_email_key": errors.EmailTaken,
    "devices_external_key": errors.ExternalIdTaken,
    "energy_listings_one_open_auto": errors.OpenListingExists,
    "wallets_balance": errors.InsufficientBalance,
}


def mind_cancellation(error: Exception) -> None:
    """Raise CancelledError if the error took the place of one: call it before trying again.

    asyncpg leaves a transaction whose connection is gone with an InterfaceError, also when it was
    left because its task is being cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


@contextmanager
def refusals(**facts: object) -> Iterator[None]:
    """Raise what the database refuses inside as its domain error; `facts` fill the sentence."""
    try:
        yield
    except asyncpg.PostgresError as error:
        refusal = _domain_error(error, facts)
        if refusal is None:
            raise
        raise refusal from error


def refusal(code: str, facts: Mapping[str, object]) -> DomainError:
    """What a function of the database answers in place of what was asked."""
    if code in _NOT_FOUND:
        return errors.NotFound(what=_NOT_FOUND[code])
    if code == errors.PurchaseTooSmall.code:
        return errors.PurchaseTooSmall(field="energy_kwh", **facts)
    return _BY_CODE[code](**facts)


def undone(error: Exception) -> bool:
    """Whether the database went on after it, and nothing of the statement happened."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _GOING_AWAY)


def _domain_error(error: asyncpg.PostgresError, facts: dict[str, object]) -> DomainError | None:
    by_constraint = _BY_CONSTRAINT.get(getattr(error, "constraint_name", None) or "")
    return by_constraint(**facts) if by_constraint else None
