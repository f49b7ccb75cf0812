"""Division of a sale's revenue: the platform's fee, and the shares of a device's investors.

An investment of `a` earns `a / funding_target × revenue_share × seller_amount`. The exact shares
are summed in the order of investor and investment, and each running sum is rounded half up to whole
paise. An investment gets the difference of its running sum and the previous one. So the shares add
up to the exact total, rounded once. No investment and no investor is off by more than a paisa, and
the order of the arguments does not matter. SQL function `allocate_revenue` computes the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from core.errors import FundingExceeded, NotOpenForFunding, TermsChanged, TooManyInvestors
from core.ids import UserId
from core.units import MONEY, money

# Investments in one device: each sale pays all of them in its transaction.
INVESTMENTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """The funding terms of a device."""

    # The amount that the host asks for, INR.
    funding_target: Decimal
    # The part of each sale that all investments earn together at full funding, 0 to 1.
    revenue_share: Decimal


@dataclass(frozen=True, slots=True)
class ExpectedTerms:
    """The terms that an investor has seen; None: the request does not contain this one."""

    funding_target: Decimal | None = None
    revenue_share: Decimal | None = None

    def check(self, terms: Terms) -> None:
        """Check that the terms are those that the investor has seen. Raises TermsChanged."""
        seen = Terms(
            terms.funding_target if self.funding_target is None else self.funding_target,
            terms.revenue_share if self.revenue_share is None else self.revenue_share,
        )
        if seen != terms:
            raise TermsChanged(
                funding_target=terms.funding_target, revenue_share=terms.revenue_share
            )


@dataclass(frozen=True, slots=True)
class Stake:
    """One investment in a device."""

    id: UUID
    investor_id: UserId
    amount: Decimal


def allocate(terms: Terms, seller_amount: Decimal, stakes: Iterable[Stake]) -> dict[UUID, Decimal]:
    """Return the share of each investment in a sale, INR, by the investment's id."""
    per_rupee = (
        Fraction(terms.revenue_share) * Fraction(seller_amount) / Fraction(terms.funding_target)
    )
    shares, exact, paid_paise = {}, Fraction(0), 0
    for stake in sorted(stakes, key=lambda stake: (stake.investor_id, stake.id)):
        exact += per_rupee * Fraction(stake.amount)
        up_to_paise = _whole_paise(exact)
        shares[stake.id] = (up_to_paise - paid_paise) * MONEY
        paid_paise = up_to_paise
    return shares


def platform_fee(total: Decimal, rate: Decimal) -> Decimal:
    """Return the platform's fee on a sale: at least a paisa if the rate is positive.

    It never exceeds the total. SQL function `platform_fee` computes the same.
    """
    return min(total, max(money(total * rate), MONEY)) if rate else money(Decimal(0))


def check_investment(
    terms: Terms | None,
    expected: ExpectedTerms,
    *,
    funded: Decimal,
    investments: int,
    amount: Decimal,
) -> None:
    """Check that a device takes an investment.

    Raises NotOpenForFunding, TermsChanged, FundingExceeded, TooManyInvestors.
    """
    if terms is None:
        raise NotOpenForFunding
    expected.check(terms)
    left = terms.funding_target - funded
    if amount > left:
        raise FundingExceeded(left=left)
    if investments >= INVESTMENTS_MAX:
        raise TooManyInvestors(at_most=INVESTMENTS_MAX)


def _whole_paise(rupees: Fraction) -> int:
    """Round rupees half up to whole paise."""
    return (200 * rupees.numerator + rupees.denominator) // (2 * rupees.denominator)
