"""Who of the people that are signed in has no right to be any more."""

from collections.abc import Collection

from core.ids import UserId
from db.pool import Connection

_AMONG = """
SELECT asked.id
  FROM unnest($1::uuid[]) AS asked (id)
 WHERE NOT EXISTS (SELECT FROM users WHERE users.id = asked.id AND is_active)
"""


async def among(conn: Connection, user_ids: Collection[UserId]) -> set[UserId]:
    """Those of them who were deactivated or are gone."""
    return {row["id"] for row in await conn.fetch(_AMONG, list(user_ids))}
