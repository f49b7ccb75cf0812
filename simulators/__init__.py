"""Devices and people, as the outside world would write them.

What runs: `fleet.run` (homes with panels, over MQTT), `replay.run` (recorded telemetry), and
`buyers.run` (people who buy over REST and listen on the feed). Each runs until it is done or
cancelled, and then says goodbye to broker and hub; each counts what it does in a tally that its
caller owns and may read meanwhile.

Invariants: they know `core` and the public contract only, nothing of how the hub is built, so that
what works for them works for anyone. Chance comes from a seed and time from a clock that are
passed in. Counters never lose or invent energy: a reading that the broker did not take is sent
again. What goes wrong with `--faults` does so in `faults` and `delivery`, both pure, between a
home's own meters, which are the truth, and what is sent.

How they fail: a broker or hub that is away is waited for, with a growing pause; a refusal that no
waiting mends is raised (`hub_client.Refused`, `recording.NothingToReplay`). Imported by
`solarhub` and `bench` only; pvlib is imported when the first sun is computed.
"""
