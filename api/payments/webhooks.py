"""Webhooks of payment providers: the event, and its signature.

The signature is the HMAC-SHA256 of the body with a secret that only the hub and the provider know.
"""

import hashlib
import hmac
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.http.fields import Money, Printable
from core.errors import BadSignature

SIGNATURE_HEADER = "X-Webhook-Signature"


class WebhookEvent(BaseModel):
    """The outcome of a payment order. Unknown fields are ignored: a provider may add some."""

    event_id: Annotated[
        str,
        Field(min_length=1, max_length=200, description="The provider's unique id of the event"),
        Printable,
    ]
    type: Annotated[
        Literal["payment.succeeded", "payment.failed"],
        Field(description="Outcome of the payment order"),
    ]
    order_id: Annotated[UUID, Field(description="Unique id of the top-up or withdrawal")]
    amount: Annotated[
        Money, Field(description="Amount of the payment order in INR; string or number")
    ]


def sign(secret: str, body: bytes) -> str:
    """Return the signature of a body, as the header has it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(secret: str, body: bytes, signature: str | None) -> None:
    """Raise BadSignature if the signature is wrong or missing.

    The comparison takes the same time for every signature.
    """
    if not hmac.compare_digest(sign(secret, body).encode(), (signature or "").encode()):
        raise BadSignature
