"""RADIUS: authentication and accounting (RFC 2865, 2866, 2869, 3162, 5080, 5090, 5997). No I/O and no clock.

A datagram becomes a packet (:mod:`.packet`), and the secret of the switch proves it (:mod:`.authenticators`). The
mapping reads a request to the engine from its attributes (:mod:`.mapping`). :mod:`.replies` encodes the answer.
"""
