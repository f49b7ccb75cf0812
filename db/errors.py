"""Errors of the database: their groups, and the domain error of each refusal."""

import asyncio
import sys
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
# The server has no disk, memory or connections left: every SQLSTATE of class 53.
_EXHAUSTED = asyncpg.InsufficientResourcesError
_SHORTAGES = {
    "53100": "the disk of the database is full",
    "53200": "the database is out of memory",
    "53300": "the database takes no more connections",
}
# The database can't be reached, stops, is too busy or out of resources; the same call may succeed
# later.
UNAVAILABLE = (
    *_GOING_AWAY,
    _EXHAUSTED,
    # The statement exceeded `database_statement_timeout`.
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InterfaceError,
    # asyncpg raises it between the server's last message and the end of the connection.
    asyncpg.InternalClientError,
    ConnectionError,
    TimeoutError,
    OSError,
)
_DATABASE_ERRORS = (*UNAVAILABLE, asyncpg.PostgresError)

# A replica cancels a statement that conflicts with the replay of its log.
CANCELLED_BY_REPLAY = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

# Data that the database refuses at every attempt.
UNSTORABLE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.PLPGSQLError,
)
# Errors that the written data may cause: divide the batch to find the row. The cause may also be a
# change of the schema; then the next attempt succeeds.
MAYBE_CAUSED_BY_DATA = (*UNSTORABLE, asyncpg.InternalServerError)

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
        errors.PayeeWalletLimit,
        errors.PurchaseTooSmall,
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


def database_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the database's errors, and `others`: `except database_errors() as error:`.

    Python evaluates the expression while the exception propagates. If one of these took the place
    of a cancellation, the call raises CancelledError, so that no loop retries a cancelled task.
    For coroutines only.
    """
    return _unless_cancelled((*_DATABASE_ERRORS, *others))


def unavailable_errors() -> tuple[type[Exception], ...]:
    """Return UNAVAILABLE, as `database_errors` returns all errors of the database."""
    return _unless_cancelled(UNAVAILABLE)


def _unless_cancelled(errors: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    error = sys.exception()
    if isinstance(error, errors):
        raise_if_cancelled(error)
    return errors


def raise_if_cancelled(error: Exception) -> None:
    """Raise CancelledError if `error` took the place of one.

    asyncpg leaves a transaction whose connection is lost with an InterfaceError, also when the
    task is being cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


@contextmanager
def refusals(**facts: object) -> Iterator[None]:
    """Translate a refusal of the database inside to its domain error with these facts."""
    try:
        yield
    except asyncpg.PostgresError as error:
        refusal = _domain_error(error, facts)
        if refusal is None:
            raise
        raise refusal from error


def refusal(code: str, facts: Mapping[str, object]) -> DomainError:
    """Return the domain error for the code that a SQL function returned."""
    if code in _NOT_FOUND:
        return errors.NotFound(what=_NOT_FOUND[code])
    if code == "costs_nothing":
        return errors.CostsNothing(**facts)
    return _BY_CODE[code](**facts)


def may_succeed_in_parts(error: Exception) -> bool:
    """Return True if the server is available but rolled the statement back.

    A smaller batch may succeed now.
    """
    unavailable = (*_GOING_AWAY, _EXHAUSTED)
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, unavailable)


def shortage(error: Exception) -> str | None:
    """Describe the resource that the server lacks; None: the error has another cause."""
    if not isinstance(error, _EXHAUSTED):
        return None
    return _SHORTAGES.get(error.sqlstate or "", "the database is at a limit of its resources")


def _domain_error(error: asyncpg.PostgresError, facts: dict[str, object]) -> DomainError | None:
    by_constraint = _BY_CONSTRAINT.get(getattr(error, "constraint_name", None) or "")
    return by_constraint(**facts) if by_constraint else None


# Revisions below it belong to schemas of development, which nothing upgrades.
_FIRST_RELEASED_REVISION = 100


class UnknownRevision(Exception):
    """The database's schema is at a revision that this version can't upgrade."""

    def __init__(self, revision: str, newest: str) -> None:
        self.revision = revision
        super().__init__(
            f"the database's schema is at revision {revision}, {_remedy(revision, newest)}"
        )


def _remedy(revision: str, newest: str) -> str:
    if revision.isdecimal() and int(revision) < _FIRST_RELEASED_REVISION:
        return (
            "which was made before the first release and can't be upgraded: start with an empty"
            " database (another --data directory, or another database in SOLARHUB_DATABASE_URL)"
        )
    return (
        f"which this version of solarhub does not know (its newest is {newest}): run the version"
        " that migrated the database, or a later one"
    )
