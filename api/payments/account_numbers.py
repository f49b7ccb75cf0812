"""Numbers of cards and accounts, however they are written: they are never to be stored.

What is looked at is normalised first: full-width, superscript and other scripts' digits are digits,
and whatever stands between groups of digits and is no letter (spaces, dashes, dots, characters
without width) is nothing.
"""

import re
import unicodedata

_LEAST_DIGITS = 9  # of an account
_GAP = "\x00"
_NUMBER = re.compile(r"[0-9]+")
_CARD = re.compile(r"(?<![0-9A-Za-z])[0-9]{13,19}(?![0-9A-Za-z])")


def is_account_number(text: str) -> bool:
    """Whether a text is nothing but a number of a card or an account."""
    bare = _normalised(text)
    return len(bare) >= _LEAST_DIGITS and bare.isdecimal()


def holds_account_number(text: str) -> bool:
    """Whether any part of a text may be a number of a card or an account."""
    return any(len(number) >= _LEAST_DIGITS for number in _NUMBER.findall(_normalised(text)))


def holds_card_number(text: str) -> bool:
    """Whether a part of a text, set off from other words, is a card's number by its check digit."""
    return any(_checks(number) for number in _CARD.findall(_normalised(text)))


def _normalised(text: str) -> str:
    """ASCII digits, with nothing between those of one number."""
    digits = "".join(map(_digit, unicodedata.normalize("NFKC", text)))
    joined = re.sub(rf"(?<=[0-9]){_GAP}+(?=[0-9])", "", digits)
    return joined.strip(_GAP)


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    if value is not None:
        return str(value)
    return character if character.isalpha() else _GAP


def _checks(number: str) -> bool:
    """By the algorithm of H. P. Luhn, US patent 2,950,048; ISO/IEC 7812-1, annex B."""
    doubled = [int(digit) * 2 for digit in number[-2::-2]]
    return (sum(map(int, number[-1::-2])) + sum(n - 9 if n > 9 else n for n in doubled)) % 10 == 0
