"""Generated sales of devices with investors."""

from decimal import Decimal
from uuid import UUID

from hypothesis import strategies as st

from core.revenue import Stake, Terms


def paise(least: int, most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(least, most).map(lambda n: Decimal(n).scaleb(-2))


@st.composite
def sales(draw: st.DrawFn) -> tuple[Terms, Decimal, list[Stake]]:
    """Draw terms, the seller's amount, and up to 12 investments of up to 4 investors."""
    investors = st.integers(1, 4).map(lambda n: UUID(int=n))
    holdings = draw(st.lists(st.tuples(investors, paise(1, 10**9)), max_size=12))
    stakes = [Stake(UUID(int=100 + n), *holding) for n, holding in enumerate(holdings)]
    invested = sum((stake.amount for stake in stakes), Decimal(0))
    still_open = draw(paise(0 if stakes else 1, 10**9))
    share = Decimal(draw(st.integers(1, 10_000))).scaleb(-4)
    return Terms(invested + still_open, share), draw(paise(0, 10**10)), stakes
