"""Errors that end a command with one line on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from db.errors import UNAVAILABLE, UnknownRevision, shortage
from db.roles import RolesRefused


class CommandError(Exception):
    """The command cannot do its work; the message is one line that says what to do."""


@contextmanager
def database_reached() -> Iterator[None]:
    """Turn database failures inside the block into CommandError.

    Covers a server that cannot be reached, one that lacks disk or memory, and refused roles.
    """
    try:
        yield
    except (RolesRefused, UnknownRevision) as error:
        raise CommandError(str(error)) from error
    except BrokenPipeError:
        raise  # whoever reads the command's output has ended: the database is fine
    except UNAVAILABLE as error:
        cause = str(error) or type(error).__name__
        if missing := shortage(error):
            raise CommandError(f"{missing} ({cause})") from error
        raise CommandError(
            f"the database cannot be reached ({cause}): check SOLARHUB_DATABASE_URL"
        ) from error
