"""Case `scale`: what a reading costs as the fleet grows."""

from contextlib import AsyncExitStack
from dataclasses import replace

from bench.database import audit
from bench.ingest import Fleet, fleet_of
from bench.options import Options
from bench.result import Contestant, Result, Sample, Target, ratio, turns

DEVICES = (100, 1_000, 10_000)
COST_MAX = 1.2


async def devices(options: Options) -> Result:
    """Single readings of 100, 1,000 and 10,000 devices, each fleet in its own database."""
    async with AsyncExitStack() as stack:
        fleets: dict[int, Fleet] = {}
        for count in DEVICES:
            work = options.work / str(count)
            work.mkdir()
            sized = replace(options, work=work, devices=count)
            fleets[count] = await stack.enter_async_context(fleet_of(sized, readings_each=1))
        samples: dict[int, list[Sample]] = {count: [] for count in DEVICES}
        for number in range(options.rounds):
            for count in turns(DEVICES, number):
                fleet = fleets[count]
                samples[count].append(await fleet.hub(await fleet.queue(number)))
        passed = all([await audit(fleet.database) for fleet in fleets.values()])
    smallest, *larger = [
        Contestant(f"{count:,} devices", "in turn, one reading each", samples[count])
        for count in DEVICES
    ]
    return Result(
        case="scale",
        what="QoS 1 readings of fleets of several sizes, one ingester",
        unit="readings/s",
        contestants=(smallest, *larger),
        targets=tuple(
            Target(f"time of a reading, {c.name}", COST_MAX, ratio(smallest, c), at_most=True)
            for c in larger
        ),
        audit_passed=passed,
        parameters={"readings_per_round": options.readings, "rounds": options.rounds},
    )
