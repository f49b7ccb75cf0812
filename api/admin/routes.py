"""Routes for administrators: users, and the audit of energy and money."""

from typing import Annotated

from fastapi import Query
from pydantic import Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Admin, PoolDep, ServicesDep, UserPathId
from api.http.envelope import Answer, Page, ok
from api.http.errors import answers
from api.http.fields import Body, Flag, Printable, Reason, ShownInstant, View
from api.users import service as users_service
from api.users.views import Role, UserView
from core.enums import UserRole
from core.errors import Forbidden, NotFound, OwnAccount
from db import audit_results, users
from db.audit_results import OFFENDING_KEPT
from db.users import UserFilter

router = routing.private("/admin", "admin")


class UserQuery(PageQuery):
    role: Annotated[Role | None, Field(description="Only users with this role")] = None
    is_active: Annotated[
        bool | None, Field(description="true: only active users; false: only deactivated ones")
    ] = None
    q: Annotated[
        Annotated[str, Printable, Field(min_length=1, max_length=254)] | None,
        Field(description="Part of the email or the name; upper and lower case are the same"),
    ] = None


class UserChange(Body):
    is_active: Annotated[
        Flag,
        Field(description="false: deactivate the user, revoke all sign-ins and pause all listings"),
    ]
    reason: Reason | None = None


class AuditCheckView(View):
    name: Annotated[str, Field(description="Name of the check", examples=["wallets"])]
    rule: Annotated[
        str,
        Field(description="Rule that must hold", examples=["every wallet equals its entries"]),
    ]
    ok: Annotated[bool, Field(description="true: the rule holds everywhere")]
    offending: Annotated[
        list[str],
        Field(description=f"Ids of records that break the rule, {OFFENDING_KEPT} at most"),
    ]
    offending_count: Annotated[
        int, Field(description="Number of records that break the rule", examples=[0])
    ]


class AuditView(View):
    ok: Annotated[bool, Field(description="true: every check holds")]
    checks: Annotated[list[AuditCheckView], Field(description="The checks, one for each rule")]


class LastAuditView(AuditView):
    finished_at: Annotated[ShownInstant, Field(description="Time at which the audit ended")]


@router.get("/users", response_description="A page of users", responses=answers(Forbidden))
async def list_users(
    pool: PoolDep, _: Admin, query: Annotated[UserQuery, Query()]
) -> Answer[Page[UserView]]:
    """List all users, newest first."""
    before = NEWEST.read(query.cursor)
    where = UserFilter(UserRole(query.role) if query.role else None, query.is_active, query.q)
    async with pool.acquire() as conn:
        found = await users.newest(conn, where, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found, query.limit, key=lambda user: (user.created_at, user.id), show=UserView.of
        )
    )


@router.get(
    "/users/{user_id}",
    response_description="The requested user",
    responses=answers(Forbidden, NotFound),
)
async def get_user(pool: PoolDep, _: Admin, user_id: UserPathId) -> Answer[UserView]:
    """Get a user by id."""
    async with pool.acquire() as conn:
        user = await users.by_id(conn, user_id)
    if user is None:
        raise NotFound(what="user")
    return ok(UserView.of(user))


@router.patch(
    "/users/{user_id}",
    response_description="The user after the change",
    responses=answers(Forbidden, NotFound, OwnAccount),
)
async def change_user(
    pool: PoolDep, admin: Admin, user_id: UserPathId, body: UserChange
) -> Answer[UserView]:
    """Deactivate a user, or activate the user again.

    The next request of a deactivated user is refused. The user's listings are paused, and stay so
    until the user resumes them.
    """
    user = await users_service.set_active(pool, admin, user_id, body.is_active, body.reason)
    return ok(UserView.of(user))


@router.get("/audit", response_description="The result of the audit", responses=answers(Forbidden))
async def audit(services: ServicesDep, _: Admin) -> Answer[AuditView]:
    """Audit all energy and money, as `solarhub audit` does.

    An audit takes longer with every reading, and is cancelled after 10 minutes. A request that
    comes while an audit is running gets the result of that audit.
    """
    checks = [AuditCheckView.model_validate(check) for check in await services.audits.checks()]
    return ok(AuditView(ok=all(check.ok for check in checks), checks=checks))


@router.get(
    "/audit/last",
    response_description="The result of the last audit; null: there was none yet",
    responses=answers(Forbidden),
)
async def last_audit(pool: PoolDep, _: Admin) -> Answer[LastAuditView | None]:
    """Get the result of the last audit that was requested over HTTP."""
    async with pool.acquire() as conn:
        result = await audit_results.last(conn)
    return ok(LastAuditView.model_validate(result) if result else None)
