"""Sockets, flow control, and the peers that may ask (interfaces.md 3).

Rule: no protocol of a switch is known here. A listener is given a responder (:mod:`identengine.wire.responder`).
"""
