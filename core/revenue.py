"""What the platform takes of a sale, and how the rest is dealt out among a device's investors.

An investment of `a` earns `a / funding_target × revenue_share × seller_amount`. The exact shares
are added up in the order of investor and investment, and each sum is rounded half up to whole
paise: an investment gets what its sum is more than the one before. So all of them together get the
exact total, rounded once; no investment and no investor is off by more than a paisa; and the order
in which they are given does not matter. The database does the same: `allocate`, 0003_investors.sql.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from core.errors import FundingExceeded, NotOpenForFunding, TermsChanged, TooManyInvestors
from core.ids import UserId
from core.units import MONEY, money

INVESTMENTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """What a host asks for a device, and which part of its sales goes to investors for that."""

    funding_target: Decimal
    revenue_share: Decimal


@dataclass(frozen=True, slots=True)
class ExpectedTerms:
    """The terms that an investor has seen; None: they did not say."""

    funding_target: Decimal | None = None
    revenue_share: Decimal | None = None

    def check(self, terms: Terms) -> None:
        """Raises TermsChanged."""
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
    """What a sale brings each investment, by its id."""
    per_rupee = (
        Fraction(terms.revenue_share) * Fraction(seller_amount) / Fraction(terms.funding_target)
    )
    dealt, exact, paid_paise = {}, Fraction(0), 0
    for stake in sorted(stakes, key=lambda stake: (stake.investor_id, stake.id)):
        exact += per_rupee * Fraction(stake.amount)
        up_to_paise = _whole_paise(exact)
        dealt[stake.id] = (up_to_paise - paid_paise) * MONEY
        paid_paise = up_to_paise
    return dealt


def platform_fee(total: Decimal, rate: Decimal) -> Decimal:
    """What the platform takes of a sale: a paisa at least where there is a rate, never more than
    the total. The database does the same: `platform_fee`.
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
    """Raises NotOpenForFunding, TermsChanged, FundingExceeded, TooManyInvestors."""
    if terms is None:
        raise NotOpenForFunding
    expected.check(terms)
    left = terms.funding_target - funded
    if amount > left:
        raise FundingExceeded(left=left)
    if investments >= INVESTMENTS_MAX:
        raise TooManyInvestors(at_most=INVESTMENTS_MAX)


def _whole_paise(rupees: Fraction) -> int:
    """Half up."""
    return (200 * rupees.numerator + rupees.denominator) // (2 * rupees.denominator)
