"""Routes of payment methods, and of the webhooks of payment providers."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from api.http import routing
from api.http.cursors import NEWEST, PageQuery
from api.http.dependencies import Id, Member, PoolDep, ServicesDep, SettingsDep
from api.http.envelope import Answer, Page, created, ok
from api.http.errors import answers
from api.http.fields import Body, Flag, Name, ShownInstant, View
from api.payments import service as payments_service
from api.payments import webhooks
from api.payments.account_numbers import holds_account_number, holds_card_number, is_account_number
from api.payments.service import PaymentMethodDetails
from api.payments.webhooks import SIGNATURE_HEADER, WebhookEvent
from core.enums import PaymentMethodKind
from core.errors import BadSignature, Forbidden, NotFound, QuotaExceeded
from db import payments

methods_router = routing.private("/payment-methods", "wallet")
webhooks_router = routing.public("/payments", "payments")

# The part of the check that a pattern in the documentation can express.
_ACCOUNT_NUMBER = r"^\s*([0-9][ -]?){9,}\s*$"


def _check_label(value: str) -> str:
    if holds_account_number(value):
        raise ValueError("must be a name, without a card or account number in it")
    return value


def _check_token(value: str) -> str:
    if is_account_number(value) or holds_card_number(value):
        raise ValueError("must be the provider's token, never a card or account number")
    return value


Label = Annotated[
    Name,
    AfterValidator(_check_label),
    Field(
        description="Name of the payment method, without 9 digits in a row in any notation",
        examples=["My UPI"],
        json_schema_extra={"not": {"pattern": r"[0-9]([ -]?[0-9]){8}"}},
    ),
]
ProviderRef = Annotated[
    Name,
    AfterValidator(_check_token),
    Field(
        description="The provider's token of the payment method, never a card or account number",
        examples=["tok_4fJk2"],
        json_schema_extra={"not": {"pattern": _ACCOUNT_NUMBER}},
    ),
]
MethodKind = Literal["upi", "card", "bank"]


class NewPaymentMethod(Body):
    kind: Annotated[MethodKind, Field(description="Kind of the payment method")]
    provider: Annotated[
        Literal["sandbox"], Field(description="Name of the payment provider that issued the token")
    ] = "sandbox"
    label: Label
    provider_ref: ProviderRef
    is_default: Annotated[
        Flag, Field(description="true: use this method where a payment names none")
    ] = False

    def details(self) -> PaymentMethodDetails:
        return PaymentMethodDetails(
            PaymentMethodKind(self.kind),
            self.provider,
            self.label,
            self.provider_ref,
            self.is_default,
        )


class PaymentMethodView(View):
    id: Annotated[UUID, Field(description="Unique id of the payment method")]
    kind: Annotated[MethodKind, Field(description="Kind of the payment method")]
    label: Annotated[str, Field(description="Name of the payment method")]
    provider: Annotated[str, Field(description="Name of the payment provider")]
    provider_ref: Annotated[str, Field(description="The provider's token of the payment method")]
    is_default: Annotated[
        bool, Field(description="true: used where a payment names no payment method")
    ]
    created_at: ShownInstant


class WebhookReceiptView(BaseModel):
    counted: Annotated[bool, Field(description="false: this event was counted before")]


@methods_router.get(
    "",
    response_description="A page of payment methods",
    responses=answers(Forbidden),
)
async def list_payment_methods(
    pool: PoolDep, member: Member, query: Annotated[PageQuery, Query()]
) -> Answer[Page[PaymentMethodView]]:
    """List the payment methods of the user, newest first."""
    before = NEWEST.read(query.cursor)
    async with pool.acquire() as conn:
        found = await payments.methods(conn, member.user_id, before=before, limit=query.limit + 1)
    return ok(
        NEWEST.page(
            found,
            query.limit,
            key=lambda method: (method.created_at, method.id),
            show=PaymentMethodView.model_validate,
        )
    )


@methods_router.post(
    "",
    status_code=201,
    response_description="The payment method that was added",
    responses=answers(Forbidden, QuotaExceeded),
)
async def add_payment_method(
    pool: PoolDep, settings: SettingsDep, member: Member, body: NewPaymentMethod
) -> Answer[PaymentMethodView]:
    """Add a payment method by the provider's token.

    The user's first payment method becomes the default.
    """
    method = await payments_service.add_method(
        pool,
        member,
        body.details(),
        quota_payment_methods=settings.quota_payment_methods,
    )
    return created(PaymentMethodView.model_validate(method))


@methods_router.delete(
    "/{method_id}",
    response_description="Confirmation without data",
    responses=answers(Forbidden, NotFound),
)
async def remove_payment_method(pool: PoolDep, member: Member, method_id: Id) -> Answer[None]:
    """Remove a payment method of the user.

    Payments that were made with it stay on record.
    """
    await payments_service.remove_method(pool, member, method_id)
    return ok(None)


@webhooks_router.post(
    "/webhook/{provider}",
    response_description="Confirmation that the event was received",
    responses=answers(BadSignature, NotFound),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": WebhookEvent.model_json_schema()}},
        }
    },
)
async def take_webhook(
    services: ServicesDep,
    request: Request,
    provider: Annotated[str, Path(description="Name of the payment provider, such as `sandbox`")],
    signature: Annotated[
        str | None,
        Header(
            alias=SIGNATURE_HEADER,
            description="`sha256=` and the HMAC-SHA256 of the body in hexadecimal",
        ),
    ] = None,
) -> Answer[WebhookReceiptView]:
    """Report the outcome of a top-up or withdrawal, as a payment provider.

    Each event counts once, however often it is sent.
    """
    secret = services.providers.webhook_secret(provider)
    # The signature covers the bytes of the body, so it is verified before they are parsed.
    body = await request.body()
    webhooks.verify(secret, body, signature)
    try:
        event = WebhookEvent.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        ) from None
    counted = await payments_service.settle(services.pool, provider, event)
    return ok(WebhookReceiptView(counted=counted))
