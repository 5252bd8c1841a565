"""Removes the passwords of SIP URIs from the texts of an entry.

A URI may be ``sip:user:password@host`` (RFC 3261, section 19.1.1), and a switch may copy it into any field.
"""

from __future__ import annotations

import re

_SCHEME = re.compile("sips?:", re.IGNORECASE)


def has_uri(body: bytes) -> bool:
    """Return True if an encoded body may hold a SIP URI."""
    lowered = body.lower()
    return b"sip:" in lowered or b"sips:" in lowered


def without_passwords(text: str) -> str:
    """Return a text without the passwords of its SIP URIs. The rest of each URI stays."""
    parts: list[str] = []
    kept = 0
    found = _SCHEME.search(text)
    while found is not None and (at := text.find("@", found.end())) >= 0:
        colon = text.find(":", found.end(), at)
        if colon >= 0:
            parts.append(text[kept:colon])
            kept = at
        found = _SCHEME.search(text, at)
    return "".join(parts) + text[kept:]
