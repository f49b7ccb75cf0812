"""Users and sign-ins as clients see them."""

from typing import Annotated, Literal, Self

from pydantic import Field, RootModel

from api.http.fields import ShownInstant, ShownKwh, ShownPrice, View
from api.users.sign_ins import SignIn
from core.ids import UserId
from db.users import User

Role = Literal["buyer", "host", "investor", "admin"]


class HostProfileView(View):
    property_name: Annotated[
        str | None, Field(description="Name of the home", examples=["Lotus House"])
    ]
    tariff_per_kwh: Annotated[
        ShownPrice | None, Field(description="Grid tariff of the home in INR per kWh")
    ]


class BuyerProfileView(View):
    monthly_demand_kwh: Annotated[
        ShownKwh | None, Field(description="Energy that the home needs in a month, in kWh")
    ]


class InvestorProfileView(View):
    company: Annotated[
        str | None,
        Field(description="Company for which the user invests", examples=["Sunrise Capital"]),
    ]


class _UserFields(View):
    id: Annotated[UserId, Field(description="Unique id of the user")]
    email: str
    full_name: str
    phone: str | None
    is_active: bool
    created_at: Annotated[ShownInstant, Field(description="Time of the registration")]


class HostView(_UserFields):
    role: Literal["host"]
    profile: Annotated[HostProfileView, Field(description="Fields that only hosts have")]


class BuyerView(_UserFields):
    role: Literal["buyer"]
    profile: Annotated[BuyerProfileView, Field(description="Fields that only buyers have")]


class InvestorView(_UserFields):
    role: Literal["investor"]
    profile: Annotated[InvestorProfileView, Field(description="Fields that only investors have")]


class AdminView(_UserFields):
    role: Literal["admin"]
    profile: Annotated[None, Field(description="Always null: administrators have no profile")]


class UserView(RootModel[HostView | BuyerView | InvestorView | AdminView]):
    """A user. The role decides which fields the profile has."""

    root: Annotated[HostView | BuyerView | InvestorView | AdminView, Field(discriminator="role")]

    @classmethod
    def of(cls, user: User) -> Self:
        fields = {
            "id": user.id,
            "email": user.email,
            "full_name": user.full_name,
            "phone": user.phone,
            "role": user.role,
            "is_active": user.is_active,
            "created_at": user.created_at,
        }
        return cls.model_validate(fields | {"profile": _profile(user)})


class SessionView(View):
    user: Annotated[UserView, Field(description="The user who is signed in")]
    access_token: Annotated[
        str, Field(description="JWT for the header `Authorization: Bearer <token>`")
    ]
    refresh_token: Annotated[str, Field(description="Token for `/auth/refresh`, good for one use")]
    token_type: Annotated[
        Literal["bearer"], Field(description="Scheme of the header `Authorization`")
    ] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: Annotated[
        int, Field(description="Seconds until the access token expires", examples=[900])
    ]

    @classmethod
    def of(cls, session: SignIn) -> Self:
        return cls(
            user=UserView.of(session.user),
            access_token=session.access_token,
            refresh_token=session.refresh_token,
            expires_in=session.expires_in_s,
        )


def _profile(user: User) -> HostProfileView | BuyerProfileView | InvestorProfileView | None:
    match user.role:
        case "host":
            return HostProfileView.model_validate(user)
        case "buyer":
            return BuyerProfileView.model_validate(user)
        case "investor":
            return InvestorProfileView.model_validate(user)
        case _:
            return None
