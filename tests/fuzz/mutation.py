"""Mutations of bytes: the damage of broken peers, networks and disks."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.rounds import Case

TOKENS = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\xaf",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\udc00",
    b"\\u0000",
    b"\\",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"-",
    b"NaN",
    b"1e999",
    b"18446744073709551616",
    b"9" * 400,
    b"[" * 70,
    b"\\" * 50,
)
"""Bytes that matter to a parser of JSON, MessagePack, HTTP, TOML or CSV."""


def mutated(case: Case, data: bytes, most: int = 6, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Return ``data`` after 1 to ``most`` random changes."""
    held = bytearray(data)
    for _ in range(case.randint(1, most)):
        at = case.randint(0, len(held))
        size = min(case.choice((1, 1, 2, 4, 16, 64)), len(held) - at)
        match case.randrange(8):
            case 0 if at < len(held):
                held[at] ^= 1 << case.randrange(8)
            case 1 if at < len(held):
                held[at] = case.randrange(256)
            case 2:
                del held[at : at + size]
            case 3:
                held[at:at] = case.choice(tokens)
            case 4:
                held[at : at + size] = case.choice(tokens)
            case 5:
                held[at:at] = held[at : at + size] * case.choice((1, 1, 2, 20))
            case 6:
                other = case.randint(0, len(held))
                held[at:at] = held[other : other + size]
            case 7 if case.often(0.3):
                del held[at:]
    return bytes(held)


def pieces(case: Case, data: bytes) -> list[bytes]:
    """Return ``data`` cut into random pieces, as the reads of a connection cut it."""
    cuts = sorted(case.randint(0, len(data)) for _ in range(case.choice((0, 1, 1, 2, 5, 30))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
