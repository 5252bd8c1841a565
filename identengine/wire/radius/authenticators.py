"""The authenticators of packets: proof that a peer knows the shared secret (RFC 2865, 2866, 2869, 5080).

Rule: the time of a comparison does not depend on the position of a difference.
"""

from __future__ import annotations

from hmac import compare_digest
from struct import Struct as Layout
from typing import Final

from identengine.wire.radius.hashing import md5, md5_of
from identengine.wire.radius.packet import ACCESS_REQUEST, HEADER_BYTES, STATUS_SERVER, Packet

ZEROS: Final = bytes(16)
"""The authenticator of a packet before it is computed."""
_BLOCK_BYTES = 64
_SIGNED_REQUESTS = frozenset((ACCESS_REQUEST, STATUS_SERVER))
"""Requests whose authenticator is random. The authenticator of other requests is computed last."""
_HEADER = Layout("!BBH16s")
_SIGNATURE_HEAD = b"\x50\x12"
"""Type and length of a Message-Authenticator."""
_SIGNED_BYTES = HEADER_BYTES + 18
"""Size of a packet whose only attribute is a Message-Authenticator."""


class SharedSecret:
    """The secret that a switch and the engine share, prepared for the checks of its packets."""

    __slots__ = ("_inner", "_outer", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        key = secret if len(secret) <= _BLOCK_BYTES else md5_of(secret)
        key = key.ljust(_BLOCK_BYTES, b"\0")
        # HMAC by RFC 2104. Two prepared hashes cost less than a copy of a keyed hmac object.
        self._inner = md5(key.translate(_INNER))
        self._outer = md5(key.translate(_OUTER))

    def hmac(self, data: bytes) -> bytes:
        """Return HMAC-MD5 of ``data`` with this secret."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()

    def signs(self, packet: Packet) -> bool:
        """Return True if the Message-Authenticator of a request is right. False if it has none."""
        at, data = packet.signature_at, packet.data
        if not at:
            return False
        if packet.code not in _SIGNED_REQUESTS:  # as in RFC 5176, 2.3, which servers follow for accounting
            data = data[:4] + ZEROS + data[HEADER_BYTES:]
        return compare_digest(self.hmac(data[:at] + ZEROS + data[at + 16 :]), data[at : at + 16])

    def authenticates(self, packet: Packet) -> bool:
        """Return True if the authenticator of an Accounting-Request is right (RFC 2866, section 3)."""
        data = packet.data
        right = md5_of(data[:4] + ZEROS + data[HEADER_BYTES:] + self.secret)
        return compare_digest(right, packet.authenticator)

    def answers(self, reply: Packet, authenticator: bytes) -> bool:
        """Return True if a reply is authentic, as a client checks it (RFC 2865, 3; RFC 2869, 5.14).

        ``authenticator`` is that of the request. A Message-Authenticator is checked if the reply has one.
        """
        at, data = reply.signature_at, reply.data[:4] + authenticator + reply.data[HEADER_BYTES:]
        if not compare_digest(md5_of(data + self.secret), reply.authenticator):
            return False
        return not at or compare_digest(self.hmac(data[:at] + ZEROS + data[at + 16 :]), data[at : at + 16])

    def reply(self, code: int, request: Packet, attributes: bytes) -> bytes:
        """Return a complete reply: a Message-Authenticator first, then attributes that are encoded already.

        It comes first so that no bytes that an attacker can choose precede it (CVE-2024-3596).
        """
        size = _SIGNED_BYTES + len(attributes)
        head = _HEADER.pack(code, request.identifier, size, request.authenticator)
        signature = self.hmac(b"".join((head, _SIGNATURE_HEAD, ZEROS, attributes)))
        return self._responded(head, b"".join((_SIGNATURE_HEAD, signature, attributes)))

    def unsigned_reply(self, code: int, request: Packet, attributes: bytes) -> bytes:
        """Return a complete reply without a Message-Authenticator: that of accounting (RFC 2869, section 5.19)."""
        head = _HEADER.pack(code, request.identifier, HEADER_BYTES + len(attributes), request.authenticator)
        return self._responded(head, attributes)

    def _responded(self, head: bytes, body: bytes) -> bytes:
        """Return a reply with its response authenticator. ``head`` has the authenticator of the request."""
        response = md5(head)
        response.update(body)
        response.update(self.secret)
        return b"".join((head[:4], response.digest(), body))

    def request(self, code: int, identifier: int, authenticator: bytes, attributes: bytes) -> bytes:
        """Return a complete request with a Message-Authenticator first, as a client sends it.

        ``authenticator`` is random. The authenticator of an Accounting-Request is computed instead.
        """
        signed = code in _SIGNED_REQUESTS
        size = _SIGNED_BYTES + len(attributes)
        head = _HEADER.pack(code, identifier, size, authenticator if signed else ZEROS)
        signature = self.hmac(b"".join((head, _SIGNATURE_HEAD, ZEROS, attributes)))
        body = b"".join((_SIGNATURE_HEAD, signature, attributes))
        return b"".join((head[:4], authenticator if signed else md5_of(head + body + self.secret), body))


_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
