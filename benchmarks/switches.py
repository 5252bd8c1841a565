"""Requests of switches that speak RADIUS or RESP: the calls of a workload as files for the generator."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable
from hashlib import md5
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from benchmarks import generator, machine, messages
from benchmarks.generator import Options, Record
from benchmarks.workload import Call, Step

SECRET = "3f9c1e7a52d8406bb1e4"  # noqa: S105 - of servers that live for a minute on loopback
ACCESS_REQUEST, ACCESS_ACCEPT, ACCOUNTING_REQUEST = 1, 2, 4
USER_NAME, NAS_ADDRESS, CALLED, CALLING = 1, 4, 30, 31
STATUS_TYPE, SESSION_ID, MESSAGE_AUTHENTICATOR = 40, 44, 80
SIGNED = bytes((MESSAGE_AUTHENTICATOR, 18)) + bytes(16)
"""The first attribute of an Access-Request. The generator computes its value."""
_VENDOR_SPECIFIC, _CISCO = 26, 9
_AVPAIR, _REMOTE_ADDRESS, _CALL_ORIGIN = 1, 23, 26
_STOP = 2
_HEAD = 20
"""Size of the header before the attributes (code, id, length, authenticator), in bytes."""
_NAS = IPv4Address("127.0.0.1").packed
_TIMEOUT = 5.0
"""Time-out of the generator in seconds, as for native messages (:mod:`benchmarks.messages`)."""


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute of RADIUS."""
    return bytes((kind, len(value) + 2)) + value


def cisco(kind: int, text: str) -> bytes:
    """Return an attribute of Cisco."""
    return attribute(_VENDOR_SPECIFIC, struct.pack(">I", _CISCO) + attribute(kind, text.encode()))


def packet(code: int, attributes: bytes) -> bytes:
    """Return a packet of RADIUS, without identifier and authenticator."""
    return struct.pack(">BBH", code, 0, _HEAD + len(attributes)) + bytes(16) + attributes


def signed(request: bytes, secret: str = SECRET) -> bytes:
    """Return a packet with its authenticators, as the generator sends it. A random authenticator is kept."""
    if request[0] == ACCOUNTING_REQUEST:
        head, rest = request[:4], request[_HEAD:]
        return head + md5(head + bytes(16) + rest + secret.encode(), usedforsecurity=False).digest() + rest
    at = _HEAD + 2
    return request[:at] + hmac.digest(secret.encode(), request, "md5") + request[at + 16 :]


def access_request(call: Call) -> bytes:
    """Return the Access-Request of a call, as a gateway sends it."""
    request = call.request
    attributes = SIGNED
    for kind, text in ((USER_NAME, request.name), (CALLING, request.src_number), (CALLED, request.dst_number)):
        attributes += attribute(kind, text.encode()) if text else b""
    attributes += attribute(NAS_ADDRESS, _NAS)
    attributes += cisco(_REMOTE_ADDRESS, f"h323-remote-address={request.src_ip}")
    attributes += attribute(SESSION_ID, str(request.call_id).encode())
    return packet(ACCESS_REQUEST, attributes)


def accounting_stop(call: Call) -> bytes:
    """Return the Accounting-Request that ends a call."""
    attributes = attribute(STATUS_TYPE, struct.pack(">I", _STOP))
    attributes += attribute(SESSION_ID, str(call.request.call_id).encode())
    attributes += attribute(NAS_ADDRESS, _NAS)
    return packet(ACCOUNTING_REQUEST, attributes + cisco(_CALL_ORIGIN, "h323-call-origin=answer"))


def resp(*words: str | bytes) -> bytes:
    """Return a command in RESP."""
    encoded = [word if isinstance(word, bytes) else word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def write_radius(path: Path, steps: Iterable[Step]) -> int:
    """Write packets in the order of the steps. Return their number."""
    return generator.write(path, map(_radius_record, steps))


def write_resp(path: Path, steps: Iterable[Step]) -> int:
    """Write commands in the order of the steps. Return their number."""
    return generator.write(path, map(_resp_record, steps))


def radius_options(count: int, accounting: int | None) -> Options:
    """Return the options of the generator for packets. ``accounting`` is the port of accounting."""
    return Options(
        count=count,
        timeout=_TIMEOUT,
        cpu=machine.cores()[0],
        id_at=1,
        id_bytes=1,
        random_at=4,
        random_bytes=16,
        radius=SECRET,
        accounting=accounting,
    )


def resp_options(count: int, connections: int, flying: int) -> Options:
    """Return the options of the generator for commands over some connections, with some in flight on each."""
    options = Options(count=count, timeout=_TIMEOUT, cpu=machine.cores()[0], in_order=True, framing="resp")
    return messages.pipelined(options, connections, flying)


def _radius_record(step: Step) -> Record:
    lane = step.place & 0xFFFF
    if step.method == "authorize":
        return Record(access_request(step.call), cisco(_AVPAIR, f"account={step.call.account_id}"), lane=lane)
    return Record(accounting_stop(step.call), lane=lane)


def _resp_record(step: Step) -> Record:
    lane = step.place & 0xFFFF
    if step.method == "authorize":
        fields = msgspec.structs.asdict(step.call.request).items()
        words = (f"{name}={value}" for name, value in fields if value is not None)
        return Record(resp("IDENT.AUTH", *words), b":1\r\n$-1\r\n:%d\r\n" % step.call.account_id, lane=lane)
    command = resp(f"IDENT.{step.method.upper()}", f"call_id={step.call.request.call_id}")
    return Record(command, msgspec.json.encode(messages.FREED), lane=lane)
