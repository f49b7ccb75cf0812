"""Simulated devices and people that use the hub as the outside world does.

What runs: `fleet.run` (homes with panels, over MQTT), `replay.run` (recorded telemetry), and
`buyers.run` (people who buy over REST and follow the feed). Each runs until it is done or
cancelled, then disconnects cleanly. Each counts its work in a tally that the caller owns and may
read at any time.

Invariants: simulators know `core` and the public contract only, so what works for them works for
any client. Randomness comes from a seed, time from a clock that is passed in. Counters never lose
or invent energy: a reading that the broker did not acknowledge is sent again. Faults are injected
in `faults` and `delivery`, which are pure. They change what a device sends, never the home's own
meters, which are the truth to compare the hub with.

How they fail: an unavailable broker or hub is retried with backoff. A refusal that no retry can
change is raised (`hub_client.HubRefusal`, `recording.NothingToReplay`). Only `solarhub` and `bench`
import this package. pvlib is imported when the first power curve is computed.
"""
