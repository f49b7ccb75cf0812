"""Advisory locks: each key has one meaning and is defined in one file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import db
from db import locks
from db.locks import AdvisoryLock
from db.pool import Connection, Pool

ROOT = Path(db.__file__).parent.parent
PACKAGES = ("api", "bench", "core", "db", "ingest", "realtime", "simulators", "solarhub", "tests")

# A call of any of PostgreSQL's advisory lock functions, and its first argument.
_CALL = re.compile(r"pg_\w*advisory\w*\(\s*([^)]*)\)")
_PARAMETER = re.compile(r"\$1(, hashtext\(\$2::text)?|:lock")
# SQL can't import the enum: a literal there names its member, and must have its value.
_NAMED_LITERAL = re.compile(r"(\d+) /\* AdvisoryLock\.(\w+) \*/")


def _sources(suffix: str) -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob(f"*{suffix}")):
            if path != Path(__file__):
                yield path.relative_to(ROOT), path.read_text("utf-8")


def unnamed_keys(sql: str) -> list[str]:
    """Return the keys in calls of advisory lock functions that are no parameter and no member."""
    return [
        argument
        for argument in _CALL.findall(sql)
        if not _PARAMETER.fullmatch(argument) and not _is_named(argument)
    ]


def _is_named(argument: str) -> bool:
    found = _NAMED_LITERAL.fullmatch(argument)
    return found is not None and AdvisoryLock.__members__.get(found[2]) == int(found[1])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT pg_try_advisory_lock($1)", []),
        ("SELECT pg_advisory_unlock(764382102 /* AdvisoryLock.RELAY_SLEEP */)", []),
        ("SELECT pg_try_advisory_lock(7)", ["7"]),
        ("SELECT pg_advisory_xact_lock(1, 2)", ["1, 2"]),
        ("SELECT pg_advisory_lock(7 /* AdvisoryLock.RELAY */)", ["7 /* AdvisoryLock.RELAY */"]),
        ("SELECT pg_advisory_lock(764382101 /* AdvisoryLock.OTHER */)",
         ["764382101 /* AdvisoryLock.OTHER */"]),
        ("PERFORM pg_advisory_xact_lock_shared(hashtext('x'))", ["hashtext('x'"]),
    ],
)  # fmt: skip
def test_the_search_finds_keys_without_a_name(sql: str, expected: list[str]) -> None:
    assert unnamed_keys(sql) == expected


def test_every_key_is_a_member_of_the_enum() -> None:
    sources = [*_sources(".py"), *_sources(".sql")]
    assert sum(len(_CALL.findall(text)) for _, text in sources) >= 5
    found = {str(path): keys for path, text in sources if (keys := unnamed_keys(text))}
    assert found == {}, "advisory lock keys belong in AdvisoryLock in db/locks.py"


def test_no_other_file_repeats_the_number_of_a_key() -> None:
    keys = set(AdvisoryLock)
    found = [
        f"{path}:{node.lineno}"
        for path, text in _sources(".py")
        if path != Path("db/locks.py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in keys
    ]
    assert found == []


def test_no_two_locks_share_a_key() -> None:
    assert len(AdvisoryLock.__members__) == len(set(AdvisoryLock.__members__.values()))


async def test_each_lock_can_be_held_while_all_others_are(conn: Connection, pool: Pool) -> None:
    async with conn.transaction(), pool.acquire() as other, other.transaction():
        for lock in AdvisoryLock:
            assert await locks.try_lock_until_commit(conn, lock)
        for lock in AdvisoryLock:
            assert not await locks.try_lock_until_commit(other, lock)


async def test_a_lock_of_a_session_is_held_until_it_is_released(
    conn: Connection, pool: Pool
) -> None:
    async with pool.acquire() as other:
        assert await locks.try_lock(conn, AdvisoryLock.RELAY)
        assert not await locks.try_lock(other, AdvisoryLock.RELAY)
        await locks.unlock(conn, AdvisoryLock.RELAY)
        assert await locks.try_lock(other, AdvisoryLock.RELAY)
        await locks.unlock(other, AdvisoryLock.RELAY)
