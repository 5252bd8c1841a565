"""Normal forms, validation and digests in a slow, literal form (engine.md 2.1, 2.2, 4, 6)."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Digest, Request


class Rejected(Exception):  # noqa: N818 - a reject is an answer, not an error (engine.md 7)
    def __init__(
        self, reason: str, account: Account | None = None, field: str | None = None, value: object = None
    ) -> None:
        self.reason, self.account, self.field = reason, account, field
        self.value = None if value is None else str(value)


class Asked(NamedTuple):
    """A request whose fields are all usable and in normal form. None means absent."""

    src_ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None
    src_port: int | None
    protocol: str | None
    gateway: str | None
    name: str | None
    password: str | None
    digest: Digest | None
    src_number: str | None
    dst_number: str | None


def trimmed(text: str | None) -> str | None:
    """Return the trimmed field, or None if it is empty (engine.md 2.3)."""
    return (text.strip() or None) if text is not None else None


def normal_form(text: str) -> str:
    """Return the normal form without ``international_prefixes``.

    Raise ValueError if it is invalid (engine.md 2.1).
    """
    left = "".join(c for c in text if c not in " -.()")
    left = left[1:] if left[:1] == "+" else left
    if len(left) > 64 or not all("!" <= c <= "~" for c in left):
        raise ValueError(text)
    return left


def number_of_request(text: str) -> str:
    """Return the normal form of a number that may be a URI (engine.md 2.1). Raise ValueError if it is invalid."""
    for part in text.split(">")[:-1]:  # the first "<…>" without another bracket in it
        if "<" in part:
            text = part.rpartition("<")[2]
            break
    text = text.strip(" ")
    low = text.lower()
    if low.startswith(("sip:", "sips:")):
        rest = text[text.index(":") + 1 :]
        user = rest.split("@")[0]
        for cut in ";?:":
            user = user.split(cut)[0]
        user = _unescaped(user)
        plain = user[1:] if user[:1] == "+" else user
        if "@" not in rest and not (plain and all(c in "0123456789*#" for c in plain)):
            return ""
        return normal_form(user)
    if low.startswith("tel:"):
        number, *parameters = text[4:].split(";")
        local = normal_form(_unescaped(number))
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip(" ").lower() == "phone-context":
                value = _unescaped(value).strip(" ")
                if value.startswith("+"):
                    return normal_form(normal_form(value) + local) if normal_form(value) else local
        return local
    return normal_form(_unescaped(text.split(";")[0].split("@")[0]))


def _unescaped(text: str) -> str:
    for escape, character in {"%23": "#", "%2a": "*", "%2A": "*", "%2b": "+", "%2B": "+"}.items():
        text = text.replace(escape, character)
    if "%" in text:
        raise ValueError(text)
    return text


def without_international(number: str, prefixes: Iterable[str]) -> str:
    """Return the number without the longest matching prefix (engine.md 2.1)."""
    fitting = [prefix for prefix in prefixes if number.startswith(prefix)]
    return number[len(max(fitting, key=len)) :] if fitting else number


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return one address, as IPv4 if it is mapped. Raise ValueError for other texts (engine.md 2.2)."""
    if "%" in text:
        raise ValueError(text)
    found = ipaddress.ip_address(text.strip())
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(maxsize=10_000)
def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network without host bits, as IPv4 if it is mapped with a mask of 96 or more (engine.md 2.2)."""
    found = ipaddress.ip_network(text, strict=False)
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= 96:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, found.prefixlen - 96))
    return found


def network_text(net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return the text of a matched network: with its length, or none for a single address (interfaces.md 3)."""
    return str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)


def validated(request: Request, direction: str, options: IdentifyOptions) -> tuple[Asked, int | None]:
    # 2.1: an invalid dst_number is rejected before anything else; an absent one is not invalid
    try:
        written = request.dst_number or ""
        dst = number_of_request(written) if trimmed(written) else ""
    except ValueError:
        raise Rejected("invalid_destination") from None

    # 2.5: an invalid field never counts as absent; the answer names field and value
    if direction not in ("origination", "termination"):
        raise Rejected("invalid_request", field="direction", value=request.direction)
    account_id = None
    if direction == "termination":  # 3.9: on origination account_id is ignored
        account_id = _integer("account_id", request.account_id)
    src_ip = None
    if trimmed(request.src_ip):
        try:
            src_ip = address(_without_brackets((request.src_ip or "").strip()))
        except ValueError:
            raise Rejected("invalid_request", field="src_ip", value=request.src_ip) from None
    src_port = _integer("src_port", request.src_port, highest=65535)

    # 2.1: an invalid src_number counts as absent, and so does an empty one
    try:
        src = without_international(number_of_request(request.src_number or ""), options.international_prefixes)
    except ValueError:
        src = ""

    digest = request.digest
    if digest is not None:  # 2.3: a blank field is absent; without any field the digest is absent
        brought = {field: _without_quotes(getattr(digest, field)) for field in digest.__struct_fields__}
        brought = {field: value for field, value in brought.items() if trimmed(value) is not None}
        digest = Digest(**brought) if brought else None
    name = trimmed(request.name)
    if name is None and digest is not None:  # interfaces.md 3: the user name of a digest stands in for the name
        name = trimmed(digest.username)
    asked = Asked(
        src_ip=src_ip,
        src_port=src_port,
        protocol=trimmed(request.protocol),
        gateway=trimmed(request.gateway),
        name=name,
        password=request.password,  # 2.3: not trimmed, and an empty one counts
        digest=digest,
        src_number=src or None,
        dst_number=dst or None,
    )
    return asked, account_id


def _without_brackets(text: str) -> str:
    """Return an IPv6 address without its brackets (engine.md 2.2)."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text


def _without_quotes(text: str | None) -> str | None:
    """Return a field of a digest without the quotes around it (engine.md 3.6)."""
    inner = (text or "").strip()
    return inner[1:-1] if len(inner) > 1 and inner.startswith('"') and inner.endswith('"') else text


def _integer(name: str, value: int | str | None, highest: int | None = None) -> int | None:
    """Return an integer from 1, also from a decimal string (interfaces.md 3, engine.md 1.2, 2.3)."""
    text = trimmed(str(value)) if value is not None else None
    if text is None:
        return None
    usable = all(c in "0123456789" for c in text) and int(text) >= 1 and (highest is None or int(text) <= highest)
    if not usable:
        raise Rejected("invalid_request", field=name, value=value)
    return int(text)


def digest_verifies(digest: Digest, name: str | None, password: str) -> bool:
    """Return True for a correct digest with MD5 (the default) or SHA-256, and qop auth or none (RFC 7616 3.4)."""
    if trimmed(digest.username) is None or trimmed(digest.username) != name:  # interfaces.md 3
        return False
    algorithm = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}.get((trimmed(digest.algorithm) or "MD5").upper())
    qop = (trimmed(digest.qop) or "").lower()
    needed = [digest.realm, digest.nonce, digest.uri, digest.method, digest.response]
    needed += [digest.nc, digest.cnonce] if qop else []
    if algorithm is None or qop not in ("", "auth") or any(part is None for part in needed):
        return False

    def h(*parts: str | None) -> str:
        return algorithm(":".join(part or "" for part in parts).encode()).hexdigest()

    ha1 = h(digest.username, digest.realm, password)
    ha2 = h(digest.method, digest.uri)
    middle = [digest.nonce, digest.nc, digest.cnonce, digest.qop] if qop else [digest.nonce]
    return (digest.response or "").lower() == h(ha1, *middle, ha2)
