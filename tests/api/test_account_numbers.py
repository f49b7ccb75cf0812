"""Card and account numbers are recognised in every notation."""

import pytest

from api.payments.account_numbers import holds_account_number, holds_card_number, is_account_number

NUMBERS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111.1111.1111.1111",
    "4111 / 1111 / 1111 / 1111",
    "4111\u00a01111\u20091111\u30001111",  # spaces of every width
    "4111\u20111111\u20131111\u22121111",  # dashes of every length, and a minus
    "4111\u200b1111\u200d1111\u00ad1111",  # without width; soft hyphens
    "４１１１１１１１１１１１１１１１",  # full-width
    "٤١١١١١١١١١١١١١١١",  # Arabic
    "४१११ ११११ ११११ ११११",  # Devanagari
    "⁴¹¹¹ ¹¹¹¹ ¹¹¹¹ ¹¹¹¹",  # superscript
    "𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏",  # of mathematics
    "4१１1 1111-1111*1111",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_recognised_in_every_notation(number: str) -> None:
    for text in (number, f"  {number} "):
        assert is_account_number(text)
    for text in (number, f"Card {number}", f"{number} (Asha)", f"card:{number}!"):
        assert holds_account_number(text)
        assert holds_card_number(text)


@pytest.mark.parametrize(
    "text", ["My UPI", "Card ending 1111", "tok_4fJk2", "12/2027", "asha@okbank", "1234 5678"]
)
def test_other_texts_are_not_taken_for_numbers(text: str) -> None:
    assert not is_account_number(text)
    assert not holds_account_number(text)
    assert not holds_card_number(text)


def test_a_token_may_have_digits_but_no_card_number() -> None:
    for token in ("cust_100000000001", "tok_1234567890123456", "3f29c1a70000411111111111111111ab"):
        assert not is_account_number(token)
        assert not holds_card_number(token)
    assert holds_card_number("tok_4111111111111111")


def test_an_account_without_a_check_digit_is_recognised() -> None:
    assert holds_account_number("HDFC 50100123456789")
    assert not holds_card_number("HDFC 50100123456781")
