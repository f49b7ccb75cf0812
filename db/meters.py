"""States of meters whose devices were removed: a new registration of a meter continues from them.

A meter is identified by its dialect and external id. A trigger stores its state when its device is
removed or deleted.
"""

from core.ids import DeviceId
from db.pool import Connection

# Separate statements after the device exists. If two transactions remove and register one meter at
# the same time, the second waits for the unique name and must then see the state that the first
# stored.
_CARRY_ACCOUNT = """
UPDATE devices d SET carried = m.accounting_state FROM meters m
 WHERE d.id = $1 AND m.dialect = d.dialect AND m.external_id = d.external_id
"""

# Readings may be ahead of the clock: energy that was accounted already never earns again.
_CARRY_STATE = """
UPDATE device_states s
   SET frozen = m.frozen, earns_from = greatest(s.earns_from, m.last_at),
       flagged = EXISTS (SELECT FROM flags WHERE device_id = m.device_id AND state = 'open')
  FROM meters m JOIN devices d ON d.dialect = m.dialect AND d.external_id = m.external_id
 WHERE s.device_id = $1 AND d.id = $1
"""

# An open measurement ended with the earlier registration.
_CARRY_PARTIAL = """
INSERT INTO device_partials (device_id, partial)
SELECT d.id, m.partial || '{"open": null}'
  FROM meters m JOIN devices d ON d.dialect = m.dialect AND d.external_id = m.external_id
 WHERE d.id = $1 AND m.partial IS NOT NULL
"""

_CARRY_FLAGS = """
INSERT INTO flags (device_id, kind, energy_wh, evidence)
SELECT d.id, f.kind, f.energy_wh, f.evidence
  FROM meters m JOIN devices d ON d.dialect = m.dialect AND d.external_id = m.external_id
  JOIN flags f ON f.device_id = m.device_id AND f.state = 'open'
 WHERE d.id = $1
"""


async def carry_over(conn: Connection, device_id: DeviceId) -> None:
    """Give a newly registered device the state of its meter's earlier registration, if any."""
    for statement in (_CARRY_ACCOUNT, _CARRY_STATE, _CARRY_PARTIAL, _CARRY_FLAGS):
        await conn.execute(statement, device_id)
