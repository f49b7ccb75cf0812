"""All SQL of the hub: a module per noun, and the schema in `migrations`.

Functions take a `Connection` and neither begin nor commit: the use case that calls them owns the
transaction, visibly (`async with pool.acquire() as conn, conn.transaction():`). One statement, one
constant, one function. Rows become frozen dataclasses where they are selected. A violated
constraint is raised as one `core.errors.DomainError`, by its name (`db.errors`).

Lock order, everywhere: device states by id, then devices, then listings by id, then wallets by user
id.

`ingest`, `api`, `realtime` and `solarhub` import it; it imports `core` only.
"""
