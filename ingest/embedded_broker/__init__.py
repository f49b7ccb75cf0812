"""An MQTT 3.1.1 broker inside the process, in memory, for a hub without a broker of its own.

What runs: `listener.running`. A connection (`connection`) is admitted (`admission`), signs in
(`access`) and gets the session of its user and client id (`sessions`). Then its packets
(`client_packets`, strict and pure) are handled one by one (`packet_handler`). Messages go to
`router`: amqtt, which opens no socket and gets only checked packets.

Invariants: no session, will or retained message changes before a client is authenticated. A session
belongs to a user and a client id, and has at most one connection: a newer one ends the older. A
client publishes, its will included, only in topics that its user may publish in. When a device's
credentials or topics change, its connections end, and no later packet of them has an effect.
`limits` bound everything that a client can make grow.

How it fails: a packet that is not valid MQTT ends its connection. While the database is unavailable
no device can sign in (CONNACK 3). When the process ends, sessions and retained messages are lost.
Imported by `solarhub` only.
"""
