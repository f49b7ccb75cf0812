"""Subscribed topics of each firmware, and hostile payloads."""

from core.dialects import Dialect

TOPICS = {
    Dialect.OPENDTU: ["solar/114182940773/0/yieldtotal", "solar/114182940773/status/last_update"],
    Dialect.SHELLY1: ["shellies/em/emeter/0/total", "shellies/em/relay/0/energy"],
    Dialect.SHELLY2: [
        "pm/status/switch:0",
        "pm/status/emdata:0",
        "pm/status/em1:0",
        "pm/status/em1data:0",
        "pm/events/rpc",
        "pm/online",
    ],
    Dialect.TASMOTA: ["tele/plug/SENSOR", "tele/plug/ENERGY", "stat/plug/STATUS8", "tele/plug/LWT"],
    Dialect.SENML: ["senml/roof"],
    Dialect.AHOY: ["inverter/HM/ch0", "inverter/HM/ch0/YieldTotal", "inverter/HM/last_success"],
    Dialect.VICTRON: [
        "N/c0619aba2ebd/pvinverter/20/Ac/L1/Energy/Forward",
        "N/c0619aba2ebd/solarcharger/279/Yield/System",
    ],
    Dialect.GROTT: ["energy/growatt/NTCIA00001", "energy/growatt"],
}

PITFALLS = [
    b"", b"\0", b"nan", b"-inf", b"1e400", b"-1e400", b"NaN", b"[NaN]", b"1" * 5000, b"\xff\xfe",
    b'"\\ud800"', b'{"\\ud800": "\\udfff"}', b"[" * 100_000, b'{"ENERGY":' * 10_000, b"9" * 63,
    b'{"value": 1e400}', b'{"value": ' + b"9" * 5000 + b"}", b'{"ts": 1e400}',
]  # fmt: skip
