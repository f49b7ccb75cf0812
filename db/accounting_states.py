"""Accounting states as JSON text, encoded in C: each is read and written with every batch."""

from msgspec.json import Decoder, encode

from core.accounting import AccountingState

from_json = Decoder(AccountingState).decode


def to_json(state: AccountingState) -> str:
    """Return the JSON text that `from_json` reads."""
    return encode(state).decode()
