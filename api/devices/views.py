"""Devices as clients see them."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.http.fields import ShownInstant, ShownMoney, View
from core.ids import DeviceId, UserId

DeviceKind = Literal["inverter", "meter", "battery"]
DeviceStatus = Literal["pending", "online", "offline", "fault"]

# The terms that a host offers to investors, and what came in.
ShownTarget = Annotated[
    ShownMoney | None,
    Field(description="Money that investors can put into the device, INR; null: not offered"),
]
ShownShare = Annotated[
    Decimal | None,
    Field(
        examples=["0.3000"],
        description="Part of the seller's amount that goes to the investors once the device is "
        "fully funded, and accordingly less before; 4 decimals",
    ),
]
ShownFunded = Annotated[
    ShownMoney, Field(description="Money that investors have put into the device, INR")
]


class DeviceView(View):
    id: Annotated[DeviceId, Field(description="Unique id of the device")]
    owner_id: UserId
    name: Annotated[str, Field(description="Name that the owner gave the device")]
    kind: Annotated[DeviceKind, Field(description="Kind of the device")]
    capacity_w: float
    latitude: float | None
    longitude: float | None
    dialect: str
    external_id: str | None
    time_zone: Annotated[
        str, Field(description="Time zone of the device's clock, a name of the tz database")
    ]
    status: Annotated[
        DeviceStatus,
        Field(description="`pending`: no message yet; `online`, `offline` or `fault` since"),
    ]
    fault_code: str | None
    last_seen_at: ShownInstant | None
    earns_from: Annotated[
        ShownInstant,
        Field(description="Time from which the energy can be sold; earlier energy is only shown"),
    ]
    capacity_approved: Annotated[
        bool,
        Field(
            description="true: an administrator approved the capacity; a device above "
            "`CAPACITY_MAX_W` sells nothing before"
        ),
    ]
    frozen: Annotated[
        bool, Field(description="true: an administrator froze the device, and it sells nothing")
    ]
    funding_target: ShownTarget
    revenue_share: ShownShare
    funded: ShownFunded
    created_at: Annotated[ShownInstant, Field(description="Time of the registration")]


class MqttTopicsView(View):
    telemetry: Annotated[
        str, Field(description="Topic of the device's readings; may be a topic filter")
    ]
    status: Annotated[
        str, Field(description="Topic of the device's presence; may be a topic filter")
    ]
    ack: Annotated[str, Field(description="Topic on which the hub reports rejected readings")]
    command: Annotated[
        str, Field(description="Topic on which the device takes commands; may be a topic filter")
    ]
    publish: Annotated[
        list[str], Field(description="Topic filters under which the device may publish")
    ]
    read: Annotated[list[str], Field(description="Topic filters to which the device may subscribe")]


class MqttAccessView(BaseModel):
    """Address of the broker, and the user name and password of a device."""

    host: Annotated[str, Field(description="Host name of the broker")]
    port: Annotated[int, Field(description="TCP port of the broker")]
    username: Annotated[str, Field(description="MQTT user name of the device")]
    password: Annotated[
        str, Field(description="MQTT password of the device, shown once: only its hash is stored")
    ]
    topics: Annotated[
        MqttTopicsView, Field(description="Topics on which the device may publish and subscribe")
    ]


class RegisteredDeviceView(DeviceView):
    mqtt: Annotated[
        MqttAccessView, Field(description="Credentials of the device at the broker, shown once")
    ]
