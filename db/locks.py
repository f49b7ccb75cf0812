"""Advisory locks of ours. Their numbers are arbitrary, and each is one lock's alone."""

from db.pool import Connection

_TRY_EXPIRY = "SELECT pg_try_advisory_xact_lock(764382125)"


async def try_expiry(conn: Connection) -> bool:
    """Be the only one who deletes what is over, until commit."""
    return bool(await conn.fetchval(_TRY_EXPIRY))
