"""JSON-RPC 2.0 in JSON and MessagePack (interfaces.md 3): messages, answers, errors and authentication.

Rule: :mod:`~identengine.wire.jsonrpc.methods` is the one table of methods. Decoding and the routes of HTTP derive
from it.
"""
