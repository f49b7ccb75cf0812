"""Routes: what administrators see and decide."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Admin, PoolDep, ServicesDep, UserPathId
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import Body, Flag, Printable, Reason, ShownInstant, View
from api.users import service as users_service
from api.users.routes import UserView
from core.enums import UserRole
from core.errors import Forbidden, NotFound, OwnAccount
from db import audit_results, users
from db.audit_results import OFFENDING_KEPT
from db.users import UserFilter

router = routing.private("/admin", "admin")


class UserQuery(PageQuery):
    role: Literal["buyer", "host", "investor", "admin"] | None = None
    is_active: bool | None = None
    q: Annotated[
        Annotated[str, Printable, Field(min_length=1, max_length=254)] | None,
        Field(description="A part of the email or of the name, in any case"),
    ] = None


class UserChange(Body):
    is_active: Annotated[
        Flag, Field(description="false: shut out at once, every sign-in ended, listings paused")
    ]
    reason: Reason | None = None


class CheckView(View):
    name: Annotated[str, Field(examples=["wallets"])]
    rule: Annotated[
        str, Field(description="What must hold", examples=["every wallet equals its entries"])
    ]
    ok: Annotated[bool, Field(description="It does")]
    offending: Annotated[
        list[str], Field(description=f"Ids of what breaks the rule, {OFFENDING_KEPT} at most")
    ]
    offending_count: Annotated[int, Field(description="How many break it", examples=[0])]


class AuditView(View):
    ok: Annotated[bool, Field(description="Every check is")]
    checks: Annotated[list[CheckView], Field(description="One for each rule")]


class LastAuditView(AuditView):
    finished_at: ShownInstant


@router.get("/users", responses=answers(Forbidden))
async def list_users(
    pool: PoolDep, _: Admin, query: Annotated[UserQuery, Query()]
) -> Answer[Page[UserView]]:
    """Everyone, newest first."""
    before = NEWEST.read(query.cursor)
    where = UserFilter(UserRole(query.role) if query.role else None, query.is_active, query.q)
    async with pool.acquire() as conn:
        found = await users.newest(conn, where, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(found, query.limit, key=lambda one: (one.created_at, one.id), show=UserView.of)
    )


@router.get("/users/{user_id}", responses=answers(Forbidden, NotFound))
async def get_user(pool: PoolDep, _: Admin, user_id: UserPathId) -> Answer[UserView]:
    """One person."""
    async with pool.acquire() as conn:
        user = await users.by_id(conn, user_id)
    if user is None:
        raise NotFound(what="user")
    return ok(UserView.of(user))


@router.patch("/users/{user_id}", responses=answers(Forbidden, NotFound, OwnAccount))
async def change_user(
    pool: PoolDep, admin: Admin, user_id: UserPathId, body: UserChange
) -> Answer[UserView]:
    """Shut somebody out, or let them in again.

    Whoever is shut out is so with the next request; their listings stay paused until they resume
    them.
    """
    user = await users_service.set_active(pool, admin, user_id, body.is_active, body.reason)
    return ok(UserView.of(user))


@router.get("/audit", responses=answers(Forbidden))
async def audit(services: ServicesDep, _: Admin) -> Answer[AuditView]:
    """Recompute the books, as `solarhub audit` does.

    Takes as long as there are readings, up to 10 minutes; who asks while one runs gets its result.
    """
    checks = [CheckView.model_validate(one) for one in await services.audits.checks()]
    return ok(AuditView(ok=all(check.ok for check in checks), checks=checks))


@router.get("/audit/last", responses=answers(Forbidden))
async def last_audit(pool: PoolDep, _: Admin) -> Answer[LastAuditView | None]:
    """What the last audit found that was asked for over HTTP; null: there was none yet."""
    async with pool.acquire() as conn:
        result = await audit_results.last(conn)
    return ok(LastAuditView.model_validate(result) if result else None)
