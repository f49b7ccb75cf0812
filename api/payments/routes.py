"""Routes: what payment providers tell."""

from typing import Annotated

from fastapi import Header, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from api.http import routing
from api.http.dependencies import ServicesDep
from api.http.envelope import Answer, ok
from api.http.errors import answers
from api.payments import service as payments_service
from api.payments import webhooks
from api.payments.webhooks import SIGNATURE_HEADER, WebhookEvent
from core.errors import BadSignature, NotFound

router = routing.public("/payments", "payments")


class Counted(BaseModel):
    counted: Annotated[bool, Field(description="false: this event was counted before")]


@router.post(
    "/webhook/{provider}",
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
    provider: Annotated[str, Path(description="Its name, such as `sandbox`")],
    signature: Annotated[
        str | None,
        Header(
            alias=SIGNATURE_HEADER,
            description="`sha256=` and the HMAC-SHA256 of the body in hexadecimal",
        ),
    ] = None,
) -> Answer[Counted]:
    """For a provider: the outcome of a top-up or withdrawal. Each event counts once."""
    secret = services.providers.webhook_secret(provider)
    body = await request.body()
    webhooks.verify(secret, body, signature)
    try:
        event = WebhookEvent.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        ) from None
    counted = await payments_service.settle(services.pool, provider, event)
    return ok(Counted(counted=counted))
