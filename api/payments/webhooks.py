"""What a payment provider tells: signed, so that nobody else can tell it."""

import hashlib
import hmac
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.http.fields import Money, Printable
from core.errors import BadSignature

SIGNATURE_HEADER = "X-Webhook-Signature"

Outcome = Literal["payment.succeeded", "payment.failed"]


class WebhookEvent(BaseModel):
    """Fields that a provider adds later are no fault."""

    event_id: Annotated[str, Field(min_length=1, max_length=200), Printable]
    type: Outcome
    order_id: UUID
    amount: Money


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(secret: str, body: bytes, signature: str | None) -> None:
    """Raises BadSignature, in the same time for every wrong one."""
    if not hmac.compare_digest(sign(secret, body).encode(), (signature or "").encode()):
        raise BadSignature
