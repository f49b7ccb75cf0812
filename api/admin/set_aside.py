"""Routes of items that failed in a queue too often and wait for an administrator."""

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


class SetAsideItemView(View):
    id: Annotated[UUID, Field(description="Unique id of the item, to retry it")]
    queue: Annotated[
        Queue,
        Field(
            description="Queue of the item: `payments` (a top-up or withdrawal), `events` (of the "
            "feed), `presence`, `broker_accounts` and `late_readings` (a device), `expiry` and "
            "`prices` (a listing)"
        ),
    ]
    item: Annotated[
        str, Field(description="Unique id of the payment order, event, device or listing")
    ]
    error: Annotated[str, Field(description="Error of the last try")]
    tries: Annotated[int, Field(description="Number of tries so far", examples=[5])]
    data: Annotated[
        dict[str, Any] | None, Field(description="Content of a payment or an event; null: others")
    ]
    failed_at: Annotated[ShownInstant, Field(description="Time of the first failure")]
    set_aside_at: Annotated[ShownInstant, Field(description="Time at which the item was set aside")]


@router.get("", response_description="A page of items set aside", responses=answers(Forbidden))
async def list_set_aside(
    pool: PoolDep, _: Admin, query: Annotated[PageQuery, Query()]
) -> Answer[Page[SetAsideItemView]]:
    """List the items that failed too often and are not tried any more, newest first.

    They were removed from their queues, so nothing waits behind them.
    """
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await failed_items.newest(conn, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda item: (item.set_aside_at, item.id),
            show=SetAsideItemView.model_validate,
        )
    )


@router.post(
    "/{item_id}/retry",
    response_description="The item that was put back",
    responses=answers(Forbidden, NotFound, GoneFromQueue),
)
async def retry(pool: PoolDep, _: Admin, item_id: Id) -> Answer[SetAsideItemView]:
    """Put an item back into its queue, once the cause of its failure is repaired.

    An event can't be put back: the clients of the feed have reloaded the state since.
    """
    async with pool.acquire() as conn, conn.transaction():
        item = await failed_items.by_id(conn, item_id)
        if item is None:
            raise NotFound(what="item that is set aside")
        if item.queue is Queue.EVENTS:
            raise GoneFromQueue
        await failed_items.release(conn, item_id)
    return ok(SetAsideItemView.model_validate(item))
