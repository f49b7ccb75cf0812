"""Encoders of the firmwares that simulated devices use: a reading to MQTT messages.

Pure. One module per firmware, written from the vendor's documentation, which its docstring names,
and from recorded messages of real devices. They share no code with the hub's decoders
(`ingest.dialects`), so each side tests the other. An encoder leaves out what its firmware cannot
measure: most of these devices do not know how much energy the home exports.
"""
