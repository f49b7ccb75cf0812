"""Division of a sale among investors: exact to the paisa, in any order."""

from collections import defaultdict
from contextlib import nullcontext
from decimal import Decimal
from fractions import Fraction
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FundingExceeded, NotOpenForFunding, TermsChanged, TooManyInvestors
from core.revenue import (
    INVESTMENTS_MAX,
    ExpectedTerms,
    Stake,
    Terms,
    allocate,
    check_investment,
    platform_fee,
)
from core.units import money
from tests.support.revenue import sales

TERMS = Terms(Decimal(1000), Decimal("0.3"))
ONE, TWO = UUID(int=1), UUID(int=2)


def test_an_investor_of_half_the_target_earns_half_the_share() -> None:
    stakes = [Stake(ONE, ONE, Decimal(500)), Stake(TWO, TWO, Decimal(250))]
    shares = allocate(TERMS, Decimal(100), stakes)
    assert shares == {ONE: Decimal("15.00"), TWO: Decimal("7.50")}


def test_the_total_of_all_shares_is_rounded_once() -> None:
    stakes = [Stake(ONE, ONE, Decimal(500)), Stake(TWO, TWO, Decimal(500))]
    # A total of 0.003 is rounded to 0, and one of 0.009 to one paisa.
    assert sum(allocate(TERMS, Decimal("0.01"), stakes).values()) == 0
    assert sum(allocate(TERMS, Decimal("0.03"), stakes).values()) == Decimal("0.01")


@given(sales())
def test_shares_add_up_to_the_paisa(sale: tuple[Terms, Decimal, list[Stake]]) -> None:
    terms, amount, stakes = sale
    invested = sum((stake.amount for stake in stakes), Decimal(0))
    exact = Fraction(invested) / Fraction(terms.funding_target)
    exact *= Fraction(terms.revenue_share) * Fraction(amount)
    total = sum(allocate(terms, amount, stakes).values(), Decimal(0))
    assert abs(Fraction(total) - exact) <= Fraction(1, 200)
    assert total <= amount
    assert total == money(total)


@given(sales())
def test_no_investment_and_no_investor_is_off_by_more_than_a_paisa(
    sale: tuple[Terms, Decimal, list[Stake]],
) -> None:
    terms, amount, stakes = sale
    rate = Fraction(terms.revenue_share) * Fraction(amount) / Fraction(terms.funding_target)
    shares = allocate(terms, amount, stakes)
    off_of: dict[UUID, Fraction] = defaultdict(Fraction)
    for stake in stakes:
        assert shares[stake.id] >= 0
        off = Fraction(shares[stake.id]) - rate * Fraction(stake.amount)
        assert abs(off) <= Fraction(1, 100)
        off_of[stake.investor_id] += off
    assert all(abs(off) <= Fraction(1, 100) for off in off_of.values())


@given(sales(), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(
    sale: tuple[Terms, Decimal, list[Stake]], random: Random
) -> None:
    terms, amount, stakes = sale
    shuffled = list(stakes)
    random.shuffle(shuffled)
    assert allocate(terms, amount, shuffled) == allocate(terms, amount, stakes)


def test_an_investment_never_exceeds_the_funding_target() -> None:
    def check(terms: Terms | None = TERMS, funded: int = 0, investments: int = 0) -> None:
        check_investment(
            terms,
            ExpectedTerms(),
            funded=Decimal(funded),
            investments=investments,
            amount=Decimal("100.01"),
        )

    with pytest.raises(NotOpenForFunding):
        check(terms=None)
    with pytest.raises(FundingExceeded, match=r"^100 INR are left to fund"):
        check(funded=900)
    with pytest.raises(TooManyInvestors):
        check(investments=INVESTMENTS_MAX)
    check(funded=899, investments=INVESTMENTS_MAX - 1)


@pytest.mark.parametrize(
    ("expected", "unchanged"),
    [
        (ExpectedTerms(), True),
        (ExpectedTerms(Decimal("1000.00"), Decimal("0.30")), True),
        (ExpectedTerms(revenue_share=Decimal("0.3001")), False),
        (ExpectedTerms(funding_target=Decimal("1000.01")), False),
    ],
)
def test_terms_that_an_investor_has_not_seen_are_refused(
    expected: ExpectedTerms, unchanged: bool
) -> None:
    with nullcontext() if unchanged else pytest.raises(TermsChanged, match=r"0\.3 .* 1000 INR"):
        check_investment(TERMS, expected, funded=Decimal(0), investments=0, amount=Decimal(1))


@pytest.mark.parametrize(
    ("total", "rate", "fee"),
    [
        ("100.00", "0.05", "5.00"),
        ("0.01", "0.05", "0.01"),
        ("0.08", "0.05", "0.01"),
        ("0.09", "0.0001", "0.01"),
        ("0.50", "0.05", "0.03"),
        ("100.00", "0", "0.00"),
        ("0.01", "0.99", "0.01"),
    ],
)
def test_a_fee_is_a_paisa_at_least_and_the_total_at_most(total: str, rate: str, fee: str) -> None:
    assert platform_fee(Decimal(total), Decimal(rate)) == Decimal(fee)
