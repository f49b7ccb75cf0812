"""Routes: devices that investors fund, and what they earn."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Id, Investor, PoolDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import Body, Money, RevenueShare, ShownInstant, ShownMoney
from api.http.idempotency import IdempotencyKey
from api.investments.service import InvestmentRequest, invest
from core import errors
from core.errors import Forbidden, NotFound
from core.ids import DeviceId
from core.revenue import ExpectedTerms
from db import investments
from db.investments import Investment

router = routing.private("/investments", "investments")


class NewInvestment(Body):
    device_id: Annotated[DeviceId, Field(description="A device that is open for funding")]
    amount: Money
    expected_revenue_share: Annotated[
        RevenueShare | None,
        Field(description="Refuse if the device's `revenue_share` is another by now"),
    ] = None
    expected_funding_target: Annotated[
        Money | None,
        Field(description="Refuse if the device's `funding_target` is another by now, INR"),
    ] = None


class FundedDeviceView(BaseModel):
    id: UUID
    name: Annotated[str, Field(description="Its owner's name for it")]


class InvestmentView(BaseModel):
    id: UUID
    device: Annotated[FundedDeviceView | None, Field(description="null: gone since")]
    amount: Annotated[ShownMoney, Field(description="INR that were invested")]
    share: Annotated[
        Decimal | None,
        Field(
            examples=["0.025000"],
            description="Of what each sale of the device's energy leaves the seller: "
            "amount / funding_target × revenue_share, 6 decimals; null: the device is gone",
        ),
    ]
    earned: Annotated[ShownMoney, Field(description="INR that sales brought it so far")]
    created_at: ShownInstant


@router.post(
    "", status_code=201,
    responses=answers(
        Forbidden, NotFound, errors.NotOpenForFunding, errors.TermsChanged,
        errors.FundingExceeded, errors.TooManyInvestors, errors.WalletLimit,
        errors.InsufficientBalance, errors.IdempotencyKeyReused,
    ),
)  # fmt: skip
async def make_investment(
    pool: PoolDep,
    investor: Investor,
    body: NewInvestment,
    response: Response,
    key: IdempotencyKey = None,
) -> Answer[InvestmentView]:
    """Fund a device. Its host gets the money at once; each sale of its energy from now on pays the
    investor a share, in the same transfer. The device's terms can't change from then on.
    """
    expected = ExpectedTerms(body.expected_funding_target, body.expected_revenue_share)
    made = await invest(
        pool, investor, InvestmentRequest(body.device_id, body.amount, key, expected)
    )
    if made.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return created(_shown(made.investment))


@router.get("", responses=answers(Forbidden))
async def list_investments(
    pool: PoolDep, investor: Investor, query: Annotated[PageQuery, Query()]
) -> Answer[Page[InvestmentView]]:
    """The caller's investments and what each earned, newest first."""
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await investments.newest(
            conn, investor.user_id, before=before, limit=query.limit + 1
        )
    return ok(
        NEWEST.page(found, query.limit, key=lambda one: (one.created_at, one.id), show=_shown)
    )


@router.get("/{investment_id}", responses=answers(Forbidden, NotFound))
async def get_investment(
    pool: PoolDep, investor: Investor, investment_id: Id
) -> Answer[InvestmentView]:
    """An investment of the caller's."""
    async with pool.acquire() as conn:
        found = await investments.by_id(conn, investment_id)
    if found is None or found.investor_id != investor.user_id:
        raise NotFound(what="investment")
    return ok(_shown(found))


def _shown(investment: Investment) -> InvestmentView:
    device = None
    if investment.device_id is not None and investment.device_name is not None:
        device = FundedDeviceView(id=investment.device_id, name=investment.device_name)
    return InvestmentView(
        id=investment.id,
        device=device,
        amount=investment.amount,
        share=investment.share,
        earned=investment.earned,
        created_at=investment.created_at,
    )
