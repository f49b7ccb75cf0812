"""Routes: what failed in a queue too often, and waits for an administrator."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Admin, Id, PoolDep
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import ShownInstant, View
from core.enums import Queue
from core.errors import Forbidden, GoneFromQueue, NotFound
from db import failed_items

router = routing.private("/admin/set-aside", "admin")


class SetAsideView(View):
    id: UUID
    queue: Annotated[
        Queue,
        Field(
            description="Where it stood: `payments` (a top-up or withdrawal), `events` (of the "
            "feed), `presence` and `broker_accounts` (a device), `expiry` and `prices` (a listing)"
        ),
    ]
    item: Annotated[str, Field(description="Id of the order, event, device or listing")]
    error: Annotated[str, Field(description="Why it failed the last time")]
    tries: Annotated[int, Field(description="How often it was tried", examples=[5])]
    data: Annotated[
        dict[str, Any] | None, Field(description="Of a payment and of an event: what it was")
    ]
    failed_at: Annotated[ShownInstant, Field(description="When it failed first")]
    set_aside_at: Annotated[ShownInstant, Field(description="When it was not tried any more")]


@router.get("", responses=answers(Forbidden))
async def list_set_aside(
    pool: PoolDep, _: Admin, query: Annotated[PageQuery, Query()]
) -> Answer[Page[SetAsideView]]:
    """What failed again and again and is not tried any more, newest first.

    Nothing waits behind it: it was taken out of its queue.
    """
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await failed_items.newest(conn, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda item: (item.set_aside_at, item.id),
            show=SetAsideView.model_validate,
        )
    )


@router.post("/{item_id}/retry", responses=answers(Forbidden, NotFound, GoneFromQueue))
async def retry(pool: PoolDep, _: Admin, item_id: Id) -> Answer[SetAsideView]:
    """Put something back into its queue, once what was in its way is mended. Not an event: whoever
    listened has reloaded since, and knows what it told.
    """
    async with pool.acquire() as conn, conn.transaction():
        item = await failed_items.by_id(conn, item_id)
        if item is None:
            raise NotFound(what="item that is set aside")
        if item.queue is Queue.EVENTS:
            raise GoneFromQueue
        await failed_items.release(conn, item_id)
    return ok(SetAsideView.model_validate(item))
