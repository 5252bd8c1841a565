"""``explain --radius FILE``: the packet that a file describes, and which attribute each field was read from.

Rule: a secret is never printed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import typer

from identengine.cli.output import Column, say, table
from identengine.errors import IdentengineError, expected, nearest, one_of
from identengine.provisioning.changes import shown

if TYPE_CHECKING:
    from identengine.config.schema import Config, Switch
    from identengine.model.records import Request
    from identengine.wire.radius.notation import WrittenAttribute

_FIELDS = (
    Column("Field", firm=True),
    Column("Value"),
    Column("Attribute", firm=True),
    Column("Line", right=True),
)
_EFFECTS = {
    "start": "The leg becomes active. If it is unknown, the other fields identify its account.",
    "update": "The leg is held for longer. If it is unknown, the other fields identify its account.",
    "stop": "The legs of this call are freed.",
    "switch_up": "All older legs of the switch are freed.",
    "switch_down": "All older legs of the switch are freed.",
    None: "An Acct-Status-Type of this value changes nothing.",
}
"""The effect of each method of an Accounting-Request."""
_NO_CALL = "No attribute is the call id, so that the packet changes nothing."


class FieldRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field of the request, and the attribute that it was read from."""

    value: str | None
    """The value, or None for a secret."""
    attribute: str
    """Name of the attribute, with a colon and the name of the pair if it holds pairs."""
    line: int
    ignored: bool = False
    """True for the password that ``ignore_password`` names."""


class UnusedAttribute(msgspec.Struct, frozen=True):
    """An attribute that is no field of the request."""

    attribute: str
    line: int


class PacketRead(NamedTuple):
    """A packet of a file, as a switch's mapping reads it."""

    packet: str
    """``Access-Request`` or ``Accounting-Request``."""
    method: str | None
    switch: str | None
    """Name of the switch whose mapping counts, or None for the standard mapping."""
    fields: dict[str, FieldRead]
    unused: list[UnusedAttribute]
    request: Request

    def document(self) -> dict[str, object]:
        """Return what ``--json`` prints, without the decision."""
        return {key: value for key, value in self._asdict().items() if key != "request"}


def switch_of(config: Config | None, name: str | None, *, by_radius: bool) -> Switch | None:
    """Return the switch with a name, or None for the standard options. Raise BadParameter if it is unknown.

    Without a name, a packet is read as one of the switches with a secret. If these differ, raise BadParameter.
    """
    switches = config.switches if config is not None else ()
    if name is not None:
        found = next((one for one in switches if one.name == name), None)
        if found is None:
            names = [one.name for one in switches]
            what = one_of(names) if names else "a config with switches (--config FILE)"
            raise typer.BadParameter(expected(what, name, meant=nearest(name, names)), param_hint="--switch")
        return found
    alike = [one for one in switches if one.secret is not None] if by_radius else []
    if any(_reading(one) != _reading(alike[0]) for one in alike):
        what = f"{one_of([one.name for one in alike])}, since their options differ"
        raise typer.BadParameter(expected(what), param_hint="--switch")
    return alike[0] if alike else None


def _reading(switch: Switch) -> tuple[object, ...]:
    """Return the options of a switch that count for its packets."""
    return switch.radius.map, switch.radius.ignore_password, switch.match_port, switch.match_protocol


def read_file(path: Path, switch: Switch | None) -> PacketRead:
    """Return the packet that a file describes. Raise IdentengineError, with the line, if it describes none."""
    from identengine.wire.radius.mapping import STATUS_TYPE, AttributeMap
    from identengine.wire.radius.notation import CODES, SECRET, NotationError, parse
    from identengine.wire.radius.packet import ACCOUNTING_REQUEST, PacketError
    from identengine.wire.radius.passwords import CHAP_CHALLENGE

    # Switches send texts that are not UTF-8. A file may hold them too.
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    radius = switch.radius if switch is not None else None
    ignored = (
        radius.ignore_password.reveal() if radius is not None and radius.ignore_password is not None else None
    )
    mapping = AttributeMap(
        radius.map if radius is not None else None,
        None if ignored is None else ignored.encode(errors="surrogateescape"),
    )
    try:
        packet, written = parse(text)
        method, request = mapping.read(packet, SECRET)
    except NotationError as error:
        raise IdentengineError(f"{path} {error}") from None
    except PacketError:  # the only error of a packet that was decoded
        what = expected("an Acct-Status-Type of four bytes in an Accounting-Request")
        raise IdentengineError(f"{path}: {what}") from None
    fields: dict[str, FieldRead] = {}
    used = set()
    for name, (place, value) in mapping.origins(packet).items():
        one = written[place - 1]  # the first attribute of the packet is its Message-Authenticator
        is_ignored = name in ("password", "chap") and getattr(request, name, None) is None
        if is_ignored or _value(request, name) is not None:
            used.add(place - 1)
            fields[name] = FieldRead(
                value=None if value is None else shown(_value(request, name)),
                attribute=_name(one, value),
                line=one.line,
                ignored=is_ignored,
            )
    code = next(name for name, number in CODES.items() if number == packet.code)
    read_too = (
        {CHAP_CHALLENGE} if "chap" in fields else {STATUS_TYPE} if packet.code == ACCOUNTING_REQUEST else set()
    )
    unused = [
        UnusedAttribute(one.name, one.line)
        for place, one in enumerate(written)
        if place not in used and one.key not in read_too
    ]
    return PacketRead(code, method, switch.name if switch is not None else None, fields, unused, request)


def _value(request: Request, name: str) -> object:
    """Return a field of a request, as ``src_ip`` or ``digest.realm``. None if it is absent."""
    value: object = request
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _name(one: WrittenAttribute, value: str | None) -> str:
    """Return the name of an attribute, with the name of its pair if only the rest of its value counted."""
    from identengine.wire.radius.digest import text

    pair, _, rest = text(one.value).partition("=")
    is_pair = value is not None and rest == value and pair != one.name
    return f"{one.name}:{pair}" if is_pair else one.name


def print_packet(read: PacketRead) -> None:
    """Print what was read out of a packet, for people."""
    by = "the standard mapping" if read.switch is None else f'the mapping of switch "{read.switch}"'
    say(f"{read.packet}: {read.method or 'no method'}, by {by}")
    say("")
    rows = [(name, _shown(one), one.attribute, str(one.line)) for name, one in read.fields.items()]
    table(_FIELDS, rows)
    if read.unused:
        say(f"Not used: {', '.join(f'{one.attribute} (line {one.line})' for one in read.unused)}")
    if read.packet == "Accounting-Request":
        names_call = read.method not in ("start", "update", "stop") or (read.request.call_id or "").strip()
        say(_EFFECTS[read.method] if names_call else _NO_CALL)
    say("")


def _shown(field: FieldRead) -> str:
    if field.ignored:
        return "(ignored: ignore_password)"
    return "(secret)" if field.value is None else field.value
