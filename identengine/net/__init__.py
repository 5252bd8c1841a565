"""Sockets, flow control, and the peers that may ask (interfaces.md 3).

Rule: this package knows no protocol of a switch. Each listener gets a responder
(:mod:`identengine.wire.responder`).
"""
