"""Reads ``[switch.radius]``: how a switch speaks RADIUS (interfaces.md 5).

A map names the attributes that hold a field of a request, in the notation of
:func:`identengine.model.attributes.parse_source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal, get_args

from identengine.config.readers import Reader, Table, boolean, choice, items, mistake, secret
from identengine.config.schema import Radius, ReplyStyle
from identengine.config.secret import bare
from identengine.errors import expected, nearest, one_of
from identengine.model.attributes import DEFAULT_SOURCES, NamedAttribute, parse_source


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
    if not found.reply:  # a switch must not miss the number to dial
        table.complain("reply", mistake('"cisco", "sip_avp" or both', []))
    table.close()
    return found


def field_map(value: object) -> dict[str, tuple[NamedAttribute, ...]]:
    """Read the attributes of each field: a table of lists. Raise ValueError with every mistake."""
    if not isinstance(value, Mapping):
        raise ValueError(mistake("a table of fields, each with a list of attributes", value))  # noqa: TRY004 - as below
    found: dict[str, tuple[NamedAttribute, ...]] = {}
    wrong: list[str] = []
    for key, written in value.items():
        if key not in DEFAULT_SOURCES:
            meant = nearest(key, DEFAULT_SOURCES)
            wrong.append(f"{bare(key)}: {expected(one_of(DEFAULT_SOURCES), key, meant=meant)}")
            continue
        try:
            found[key] = items(partial(parse_source, key))(written)
        except ValueError as error:
            wrong.append(f"{key}: {error}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return found
