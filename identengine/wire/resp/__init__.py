"""RESP2, the protocol of Redis (interfaces.md 4): every Redis client is a client of the engine. No I/O.

A message of this protocol is a command: a name and its arguments (:mod:`identengine.wire.resp.framer`).
"""
