"""What keeps a command from doing its work."""

from collections.abc import Iterator
from contextlib import contextmanager

from db.errors import UNAVAILABLE, shortage
from db.roles import RolesRefused


class CommandError(Exception):
    """The message is one line for a person, and says what to do."""


@contextmanager
def database_reached() -> Iterator[None]:
    """Raise HubError when the database that is used inside can't be reached, or migrated."""
    try:
        yield
    except RolesRefused as error:
        raise CommandError(str(error)) from error
    except UNAVAILABLE as error:
        what = str(error) or type(error).__name__
        if lacks := shortage(error):
            raise CommandError(f"{lacks} ({what})") from error
        raise CommandError(
            f"the database can't be reached ({what}): check SOLARHUB_DATABASE_URL"
        ) from error
