"""Reads ``[switch.radius]``: how a switch speaks RADIUS (interfaces.md 5).

A map names the attributes that hold a field of a request. An attribute is written as its number (``44``), its name
(``"Calling-Station-Id"``), or the number of its vendor and its own (``"9/24"``). A key after a colon selects the
values that begin with the key and ``=`` (``"Cisco-AVPair:call-id"``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

from identengine.config.readers import Reader, Table, bare, boolean, choice, items, mistake, secret
from identengine.config.schema import AttributeRef, MappedField, Radius, ReplyStyle
from identengine.errors import expected, nearest, one_of

CISCO = 9
"""Number of the vendor Cisco."""
ATTRIBUTES: dict[str, tuple[int, int]] = {
    "User-Name": (0, 1),
    "NAS-IP-Address": (0, 4),
    "NAS-Port": (0, 5),
    "Filter-Id": (0, 11),
    "Callback-Number": (0, 19),
    "Class": (0, 25),
    "Called-Station-Id": (0, 30),
    "Calling-Station-Id": (0, 31),
    "NAS-Identifier": (0, 32),
    "Acct-Session-Id": (0, 44),
    "Acct-Multi-Session-Id": (0, 50),
    "NAS-Port-Type": (0, 61),
    "Connect-Info": (0, 77),
    "Acct-Interim-Interval": (0, 85),
    "NAS-Port-Id": (0, 87),
    "NAS-IPv6-Address": (0, 95),
    "Cisco-AVPair": (CISCO, 1),
    "Cisco-NAS-Port": (CISCO, 2),
    "h323-remote-address": (CISCO, 23),
    "h323-conf-id": (CISCO, 24),
    "h323-setup-time": (CISCO, 25),
    "h323-call-origin": (CISCO, 26),
    "h323-call-type": (CISCO, 27),
    "h323-connect-time": (CISCO, 28),
    "h323-disconnect-time": (CISCO, 29),
    "h323-disconnect-cause": (CISCO, 30),
    "h323-voice-quality": (CISCO, 31),
    "h323-gw-id": (CISCO, 33),
    "h323-incoming-conf-id": (CISCO, 35),
    "gw-rxd-cdn": (CISCO, 112),
    "gw-rxd-cgn": (CISCO, 113),
    "session-protocol": (CISCO, 142),
}
"""Attributes that a map may name: the vendor (0 for the standard attributes) and the number of each."""

_BY_FOLDED_NAME = {name.casefold(): ref for name, ref in ATTRIBUTES.items()}
_VENDOR_SPECIFIC = 26
_NUMBERED = re.compile(r"(?:([0-9]{1,8})/)?([0-9]{1,3})")
_LARGEST_VENDOR = (1 << 24) - 1
_WHAT = 'an attribute: a number from 1 to 255, a name, or "VENDOR/NUMBER", each with an optional ":KEY"'


def read_radius(table: Table) -> Radius:
    """Return the values of ``[switch.radius]``. Mistakes are added to the table."""
    auto: Reader[Literal["auto"] | bool] = choice("auto", True, False)
    style: Reader[ReplyStyle] = choice(*get_args(ReplyStyle))
    standard = Radius()
    found = Radius(
        require_message_authenticator=table.take("require_message_authenticator", auto, "auto"),
        limit_proxy_state=table.take("limit_proxy_state", boolean, standard.limit_proxy_state),
        ignore_password=table.take("ignore_password", secret, None),
        reply=table.take("reply", items(style), standard.reply),
        map=table.take("map", field_map, standard.map),
    )
    table.close()
    return found


def field_map(value: object) -> dict[MappedField, tuple[AttributeRef, ...]]:
    """Read the attributes of each field: a table of lists. Raise ValueError with every mistake."""
    if not isinstance(value, Mapping):
        raise ValueError(mistake("a table of fields, each with a list of attributes", value))  # noqa: TRY004 - as below
    found: dict[MappedField, tuple[AttributeRef, ...]] = {}
    wrong: list[str] = []
    refs = items(attribute)
    fields: dict[str, MappedField] = {field: field for field in get_args(MappedField)}
    for key, written in value.items():
        if key not in fields:
            wrong.append(f"{bare(key)}: {expected(one_of(fields))}")
            continue
        try:
            found[fields[key]] = refs(written)
        except ValueError as error:
            wrong.append(f"{key}: {error}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def attribute(value: object) -> AttributeRef:
    """Read a reference to an attribute."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(mistake(_WHAT, value))  # noqa: TRY004 - readers raise ValueError alone
    written, colon, key = str(value).strip().partition(":")
    numbered = _NUMBERED.fullmatch(written)
    if numbered is None:
        known = _BY_FOLDED_NAME.get(written.casefold())
        if known is None:
            raise ValueError(expected(_WHAT, value, meant=nearest(written, ATTRIBUTES)))
        vendor, number = known
    else:
        vendor, number = int(numbered[1] or 0), int(numbered[2])
    if (numbered and numbered[1] is not None and vendor == 0) or vendor > _LARGEST_VENDOR:
        raise ValueError(expected(f"a vendor from 1 to {_LARGEST_VENDOR}", value))
    if not 0 < number < 256:
        raise ValueError(expected(_WHAT, value))
    if not vendor and number == _VENDOR_SPECIFIC:
        raise ValueError(expected('an attribute of a vendor as "VENDOR/NUMBER"', value))
    if colon and not (key and key.isascii() and key.isprintable() and "=" not in key):
        raise ValueError(expected("printable ASCII without = after the colon", value))
    return AttributeRef(number, vendor, key or None)
