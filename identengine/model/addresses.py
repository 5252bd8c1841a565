"""IP addresses: text to packed bytes, strictly, and back (engine.md 2.2). No other module parses addresses.

A packed address is 4 or 16 bytes in network order. An IPv4-mapped IPv6 address is always its 4 bytes, so that each
address has one form.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from identengine.errors import expected

_MAPPED = bytes(10) + b"\xff\xff"
_LONGEST = 45
"""Longest text of an address without the space around it: IPv6 whose last 32 bits are written as IPv4."""


class Network(NamedTuple):
    """A network: its packed address with all host bits clear, and its length in bits (32 or 128: one address)."""

    address: bytes
    length: int

    @property
    def single(self) -> bool:
        """True if the network holds exactly one address."""
        return self.length == len(self.address) * 8

    def covers(self, packed: bytes) -> bool:
        """Return True if the network contains the packed address."""
        shift = len(self.address) * 8 - self.length
        return len(packed) == len(self.address) and (
            int.from_bytes(packed, "big") >> shift == int.from_bytes(self.address, "big") >> shift
        )


def parse_address(text: str) -> bytes:
    """Return the packed form of one address. Spaces around it are ignored.

    Raise ValueError, with the expected form, if ``text`` is not a plain IPv4 or IPv6 address. Leading zeros, short
    forms, ports, zone ids and lengths are not accepted.
    """
    plain = text.strip()
    try:
        packed = inet_pton(AF_INET6 if ":" in plain else AF_INET, plain)
    except (OSError, ValueError):
        raise ValueError(expected(_expected_address(plain), text)) from None
    return packed[12:] if packed.startswith(_MAPPED) and len(packed) == 16 else packed


def parse_network(text: str) -> tuple[Network, bool]:
    """Return the network that ``text`` (an address, or an address/length) names, and True if host bits were set.

    Host bits are cleared. A mapped address with a length of 96 or more is an IPv4 network. With a shorter length
    it stays IPv6. Raise ValueError, with the expected form, if ``text`` is not a network.
    """
    head, slash, tail = text.strip().partition("/")
    if head != head.strip():
        raise ValueError(expected("a network without a space before the /", text))
    try:
        packed = parse_address(head)
    except ValueError:
        raise ValueError(expected(_expected_address(head), text)) from None
    if not slash:
        return Network(packed, len(packed) * 8), False
    bits = 128 if ":" in head else 32
    length = _length(tail, bits)
    if length is None:
        raise ValueError(expected(_expected_length(tail, bits), text))
    if bits == 128 and len(packed) == 4:
        if length >= 96:
            length, bits = length - 96, 32
        else:
            packed = _MAPPED + packed
    number = int.from_bytes(packed, "big")
    kept = number >> (bits - length) << (bits - length)
    return Network(kept.to_bytes(bits // 8, "big"), length), kept != number


def format_address(packed: bytes) -> str:
    """Return the usual text of a packed address (RFC 5952 for IPv6)."""
    return inet_ntop(AF_INET, packed) if len(packed) == 4 else str(IPv6Address(packed))


def unbracketed(text: str) -> str:
    """Return an IPv6 address of a request without the brackets around it, and any other text unchanged."""
    plain = text.strip()
    return plain[1:-1] if plain[:1] == "[" and plain[-1:] == "]" and ":" in plain else text


def normal_address(text: str) -> str | None:
    """Return the normal form of an address of a request, or None if ``text`` is not an address."""
    text = unbracketed(text).strip()
    if len(text) > _LONGEST:
        return None
    try:
        return format_address(parse_address(text))
    except ValueError:
        return None


def format_network(network: Network) -> str:
    """Return the text of a network, without the length if it is a single address."""
    text = format_address(network.address)
    return text if network.single else f"{text}/{network.length}"


def _length(text: str, bits: int) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 3 and str(int(text)) == text and int(text) <= bits:
        return int(text)
    return None


def _expected_length(text: str, bits: int) -> str:
    """Return what a message expects instead of this text after the slash."""
    if "." in text:
        return f"the mask as a length from 0 to {bits} (10.0.0.0/24), not as an address"
    return f"a length from 0 to {bits} after the /, without leading zeros"


def _expected_address(text: str) -> str:
    """Return what a message expects instead of a text that is not an address."""
    if "/" in text:
        return "a single address without a /length"
    if "%" in text:
        return "an address without a zone id (%...)"
    host, _, port = text.rpartition(":")
    if port.isdigit() and (host.count(".") == 3 or host.endswith("]")):
        return "an address without a port"
    if text.startswith("["):
        return "an address without brackets"
    parts = text.split(".")
    if text and ":" not in text and all(part.isascii() and part.isdigit() for part in parts):
        if len(parts) != 4:
            return "an IPv4 address of four parts (10.0.0.1)"
        if any(len(part) > 1 and part[0] == "0" for part in parts):
            return "an IPv4 address without leading zeros"
        return "an IPv4 address whose parts are at most 255"
    return "an IPv4 or IPv6 address (10.0.0.1, 2001:db8::1)"
