"""What firmwares say over MQTT, written from the contract and what real devices sent.

Pure, a small file for each: a name and a reading → publications, with the topics, units and
resolution of that firmware. They know nothing of the hub's decoders, so that one checks the other.
What a firmware can't tell is left out: most of these devices do not know what the house exports.
"""
