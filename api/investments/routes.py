"""Routes of investments: invest, list, get."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, Field

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import ClockDep, Id, Investor, PoolDep, SettingsDep
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
    device_id: Annotated[
        DeviceId, Field(description="Unique id of a device that is open for funding")
    ]
    amount: Annotated[
        Money, Field(description="Amount in INR, at most 2 decimals; string or number")
    ]
    expected_revenue_share: Annotated[
        RevenueShare | None,
        Field(description="Expected `revenue_share` of the device; refused if it differs now"),
    ] = None
    expected_funding_target: Annotated[
        Money | None,
        Field(
            description="Expected `funding_target` of the device in INR; refused if it differs now"
        ),
    ] = None


class FundedDeviceView(BaseModel):
    id: Annotated[DeviceId, Field(description="Unique id of the device")]
    name: Annotated[str, Field(description="Name that the owner gave the device")]


class InvestmentView(BaseModel):
    id: Annotated[UUID, Field(description="Unique id of the investment")]
    device: Annotated[
        FundedDeviceView | None,
        Field(description="The device that was invested in; null: it was removed"),
    ]
    amount: Annotated[ShownMoney, Field(description="Amount that was invested, in INR")]
    share: Annotated[
        Decimal | None,
        Field(
            examples=["0.025000"],
            description="Part of the seller's amount of each sale that the investor gets: "
            "amount / funding_target × revenue_share, 6 decimals; null: the device was removed",
        ),
    ]
    earned: Annotated[ShownMoney, Field(description="Amount that sales have paid so far, in INR")]
    created_at: Annotated[ShownInstant, Field(description="Time of the investment")]


@router.post(
    "", status_code=201, response_description="The investment that was made",
    responses=answers(
        Forbidden, NotFound, errors.NotOpenForFunding, errors.TermsChanged,
        errors.FundingExceeded, errors.TooManyInvestors, errors.WalletLimit,
        errors.InsufficientBalance, errors.PayoutHeld, errors.IdempotencyKeyReused,
    ),
)  # fmt: skip
async def make_investment(
    pool: PoolDep,
    settings: SettingsDep,
    clock: ClockDep,
    investor: Investor,
    body: NewInvestment,
    response: Response,
    key: IdempotencyKey = None,
) -> Answer[InvestmentView]:
    """Invest in a device.

    The host gets the money at once. Each later sale of the device's energy pays the investor a
    share, in the transfer of the sale. The terms of the device can't change any more.
    """
    expected = ExpectedTerms(body.expected_funding_target, body.expected_revenue_share)
    made = await invest(
        pool,
        investor,
        InvestmentRequest(body.device_id, body.amount, key, expected),
        payout_delay=settings.payout_delay,
        clock=clock,
    )
    if made.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return created(_investment_view(made.investment))


@router.get("", response_description="A page of investments", responses=answers(Forbidden))
async def list_investments(
    pool: PoolDep, investor: Investor, query: Annotated[PageQuery, Query()]
) -> Answer[Page[InvestmentView]]:
    """List the investments of the user and what each has earned, newest first."""
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await investments.newest(
            conn, investor.user_id, before=before, limit=query.limit + 1
        )
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda investment: (investment.created_at, investment.id),
            show=_investment_view,
        )
    )


@router.get(
    "/{investment_id}",
    response_description="The requested investment",
    responses=answers(Forbidden, NotFound),
)
async def get_investment(
    pool: PoolDep, investor: Investor, investment_id: Id
) -> Answer[InvestmentView]:
    """Get an investment of the user."""
    async with pool.acquire() as conn:
        found = await investments.by_id(conn, investment_id)
    if found is None or found.investor_id != investor.user_id:
        raise NotFound(what="investment")
    return ok(_investment_view(found))


def _investment_view(investment: Investment) -> InvestmentView:
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
