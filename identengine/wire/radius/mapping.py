"""The mapping: which attribute of a packet is which field of a request (interfaces.md 5).

Each field has a list of sources, and the first one that the packet has counts. An empty value is absent. Rule: a
packet of a known kind always becomes a request. A value that cannot be used is the engine's to reject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hmac import compare_digest
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from msgspec import structs

from identengine.identify.credentials import chap_verifies
from identengine.identify.query import decimal
from identengine.model.addresses import format_address, normal_address
from identengine.model.attributes import (
    AVPAIR,
    CISCO,
    DEFAULT_SOURCES,
    Kind,
    NamedAttribute,
    Packets,
    parse_attribute,
)
from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import CallRequest, Chap, ChapRequest, Digest, Request
from identengine.model.usual import LONGEST_INTERVAL, UsualCallRequest, UsualRequest
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.digest import KEYS as DIGEST_KEYS
from identengine.wire.radius.digest import digest_fields, digest_of, text
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    Attribute,
    Cause,
    Packet,
    PacketError,
    values,
    vendor_key,
)
from identengine.wire.radius.passwords import CHAP_PASSWORD, USER_PASSWORD, chap_of, revealed

RadiusMethod: TypeAlias = Literal["authorize", "start", "update", "stop", "switch_up", "switch_down"]
STATUS_TYPE: Final = 40
METHODS: dict[int, RadiusMethod] = {
    1: "start",
    2: "stop",
    3: "update",
    7: "switch_up",
    8: "switch_down",
    15: "stop",
}
"""The method of each Acct-Status-Type. A call that failed (15) is a stop. Other types change nothing."""
DIRECTIONS = {"answer": "origination", "originate": "termination"}
"""The direction of each h323-call-origin. A gateway answers the caller's side, and originates the vendor's."""

_FIELDS = tuple(DEFAULT_SOURCES)
_PASSWORD, _CHAP, _DIGEST = range(len(_FIELDS), len(_FIELDS) + 3)
"""Places of the credentials behind the fields."""
_PLACES = len(_FIELDS) + 3
_NAMES = (*_FIELDS, "password", "chap")
_SECRET_FIELDS = frozenset(("password", "chap"))
_NOTHING: list[Any] = [None] * _PLACES
_UNRANKED = [1 << 16] * _PLACES


class Asked(NamedTuple):
    """The request that a packet makes."""

    method: RadiusMethod | None
    """The method of the engine; None for accounting that changes nothing."""
    request: Request
    """The parameters, a CallRequest for ``start``, ``update`` and ``stop``."""


class Origin(NamedTuple):
    """The attribute that a field was read from."""

    attribute: int
    """Index of the attribute in the packet."""
    value: str | None
    """The value that was read, or None for a secret."""


_Reader: TypeAlias = Callable[[bytes], "str | bytes | None"]


class _Rule(NamedTuple):
    """One use of an attribute: the place of a field, and the rank of the attribute among its sources."""

    place: int
    rank: int
    read: _Reader | None
    """The reader of the value. None for text."""
    own: bytes
    """The name of the attribute with an equals sign, which its text may begin with. Empty if it may not."""
    next: _Rule | None = None
    """A further use of the same attribute."""


class _Table:
    """The rules for one kind of packet."""

    def __init__(self, sources: Mapping[str, Sequence[NamedAttribute]], packets: Packets) -> None:
        self._rules: dict[int, _Rule] = {}
        """The rules for whole values, by the key of their attribute."""
        self._pairs: dict[int, dict[bytes, _Rule]] = {}
        """The rules for pairs, by the key of their attribute and the name of the pair.

        The empty name has the rule for the whole value.
        """
        for place, field in enumerate(_FIELDS):
            for rank, source in enumerate(sources[field]):
                if source.packets in ("any", packets):
                    self._add(place, rank, source)
        if packets == "access":
            self._rules |= {
                USER_PASSWORD: _Rule(_PASSWORD, 0, bytes, b""),
                CHAP_PASSWORD: _Rule(_CHAP, 0, _mark, b""),
            }
            for key in DIGEST_KEYS:
                self._rules[key] = _Rule(_DIGEST, 0, _mark, b"", self._rules.get(key))
        for key, named in self._pairs.items():
            if key in self._rules:
                named[b""] = self._rules.pop(key)

    def _add(self, place: int, rank: int, source: NamedAttribute) -> None:
        key = vendor_key(source.vendor, source.type) if source.vendor else source.type
        if source.pair is not None:
            self._add_pair(key, source.pair, place, rank)
            return
        named = source.vendor == CISCO and source.name not in (None, AVPAIR)
        own = f"{source.name}=".encode() if named else b""
        is_name = source == _USER_NAME and _FIELDS[place] == "src_ip"
        read = _address_in if is_name else _READERS.get(source.kind)
        self._rules[key] = _Rule(place, rank, read, own, self._rules.get(key))
        if named:  # gateways send it as a pair too
            self._add_pair(_AVPAIR_KEY, source.name or "", place, rank)

    def _add_pair(self, key: int, pair: str, place: int, rank: int) -> None:
        pairs = self._pairs.setdefault(key, {})
        name = pair.encode()
        pairs[name] = _Rule(place, rank, None, b"", pairs.get(name))

    def read(self, attributes: Sequence[Attribute], *, strict: bool = False) -> tuple[list[Any], list[int]]:
        """Return the value of each place, and the rank of its source. An absent value is None.

        A strict reading is faster. It raises UnicodeDecodeError if a text is not UTF-8.
        """
        found, ranks, rules, pairs = _NOTHING.copy(), _UNRANKED.copy(), self._rules, self._pairs
        for key, whole in attributes:
            rule, value = rules.get(key), whole
            if rule is None:
                if key not in pairs:
                    continue
                named = pairs[key]
                name, _, value = whole.partition(b"=")
                rule = named.get(name)
                if rule is None:
                    rule, value = named.get(b""), whole
            while rule is not None:
                place, rank, read, own, rule = rule
                if rank < ranks[place]:
                    if read is not None:
                        usable = read(value)
                    else:
                        written = value.removeprefix(own) if own else value
                        usable = written.decode() if strict else text(written)
                    if usable:
                        found[place], ranks[place] = usable, rank
        return found, ranks


class AttributeMap:
    """The mapping of one switch: its sources of each field, and the password that it always sends.

    ``sources`` replaces the default sources of the fields that it names.
    """

    def __init__(
        self, sources: Mapping[str, Sequence[NamedAttribute]] | None = None, ignore_password: bytes | None = None
    ) -> None:
        complete = _STANDARD | dict(sources or {})
        self._access, self._accounting = _Table(complete, "access"), _Table(complete, "accounting")
        self._ignored = ignore_password

    def read(self, packet: Packet, secret: SharedSecret) -> Asked:
        """Return the request that a packet makes. Raise PacketError if accounting names no status."""
        table = self._access if packet.code == ACCESS_REQUEST else self._accounting
        try:
            found, _ = table.read(packet.attributes, strict=True)
        except UnicodeDecodeError:
            found, _ = table.read(packet.attributes)
        if table is self._accounting:
            return _accounted(packet, found)
        hidden, chap, digest = found[_PASSWORD:]
        if hidden is None and chap is None and digest is None:
            return Asked("authorize", _request(found))
        password = None
        if hidden is not None:
            plain = revealed(hidden, secret, packet.authenticator)
            if self._ignored is None or not compare_digest(plain, self._ignored):
                password = text(plain)
        response = chap_of(packet) if chap is not None else None
        if response is not None and self._ignored is not None and chap_verifies(text(self._ignored), response):
            response = None
        return Asked("authorize", _request(found, password, response, digest_of(packet) if digest else None))

    def origins(self, packet: Packet) -> dict[str, Origin]:
        """Return for each field that a packet has the attribute that it was read from.

        The credentials are ``password``, ``chap`` and ``digest.username`` and so on.
        """
        table = self._access if packet.code == ACCESS_REQUEST else self._accounting
        best: dict[str, tuple[int, Origin]] = {}
        for place, attribute in enumerate(packet.attributes):
            found, ranks = table.read([attribute])
            for field, value, rank in zip(_NAMES, found, ranks, strict=False):
                if value is not None and (field not in best or rank < best[field][0]):
                    best[field] = rank, Origin(place, None if field in _SECRET_FIELDS else value)
        origins = {field: origin for field, (_, origin) in best.items()}
        if table is self._access:
            for field, (place, value) in digest_fields(packet).items():
                origins[f"digest.{field}"] = Origin(place, None if field == "response" else value)
        return origins


def status_of(packet: Packet) -> int:
    """Return the Acct-Status-Type of an Accounting-Request. Raise PacketError if it has none of four bytes."""
    for value in values(packet, STATUS_TYPE):
        if len(value) == 4:
            return int.from_bytes(value, "big")
        break
    raise PacketError(Cause.NO_STATUS_TYPE)


def bare(request: CallRequest) -> CallRequest:
    """Return a ``start`` or ``update`` without the fields that identify an unknown call.

    A known call is refreshed by it, even if such a field cannot be used.
    """
    return CallRequest(
        call_id=request.call_id, leg_id=request.leg_id, direction=request.direction, interval=request.interval
    )


def _accounted(packet: Packet, found: list[Any]) -> Asked:
    """Return the request of an Accounting-Request. It carries no credentials (engine.md 5.4)."""
    method = METHODS.get(status_of(packet))
    if method not in ("start", "update", "stop"):
        return Asked(method, _NO_FIELDS)
    call_id, leg_id, direction, account_id, src_ip, src_port, protocol, gateway, name, src, dst, interval = found[
        :_PASSWORD
    ]
    direction = _DIRECTION.get(direction)  # another origin names no direction, so that its stop frees the call
    if method == "stop":
        return Asked(method, UsualCallRequest(call_id=call_id, leg_id=leg_id, direction=direction))
    return Asked(
        method,
        (UsualCallRequest if _is_usual(account_id, src_port, src, dst) else CallRequest)(
            call_id=call_id,
            leg_id=leg_id,
            direction=direction,
            account_id=account_id,
            src_ip=src_ip,
            src_port=src_port,
            protocol=protocol,
            gateway=gateway,
            name=name,
            src_number=src,
            dst_number=dst,
            interval=None if interval is None else _interval(interval),
        ),
    )


def _interval(written: str) -> int | None:
    """Return an interval, or None if it cannot be used: a report must not be lost for it."""
    try:
        return decimal(written, LONGEST_INTERVAL)
    except ValueError:
        return None


def _request(
    found: list[Any], password: str | None = None, chap: Chap | None = None, digest: Digest | None = None
) -> Request:
    """Return the request of an Access-Request, of the usual shape if it is."""
    call_id, leg_id, direction, account_id, src_ip, src_port, protocol, gateway, name, src, dst, *_ = found
    is_usual = chap is None and _is_usual(account_id, src_port, src, dst)
    request = (UsualRequest if is_usual else Request)(
        call_id=call_id,
        leg_id=leg_id,
        direction=direction if direction is None else _DIRECTION.get(direction, direction),
        account_id=account_id,
        src_ip=src_ip,
        src_port=src_port,
        protocol=protocol,
        gateway=gateway,
        name=name,
        password=password,
        digest=digest,
        src_number=src,
        dst_number=dst,
    )
    return request if chap is None else ChapRequest(**structs.asdict(request), chap=chap)


def _is_usual(account_id: str | None, src_port: str | None, src: str | None, dst: str | None) -> bool:
    """Return True if these fields have the shape on which the usual way relies (:mod:`identengine.model.usual`).

    No attribute is as long as the longest id.
    """
    return (
        (src is None or len(src) <= MAX_LENGTH)
        and (dst is None or len(dst) <= MAX_LENGTH)
        and (src_port is None or (_is_number(src_port, 5) and int(src_port) <= _LAST_PORT))
        and (account_id is None or _is_number(account_id, 18))
    )


def _is_number(written: str, digits: int) -> bool:
    return len(written) <= digits and written.isascii() and written.isdigit() and written[0] != "0"


@lru_cache(maxsize=4096)
def _address_in(value: bytes) -> str | None:
    """Return the address that a value is, or None if it is another text. Few senders have many callers."""
    return normal_address(text(value))


def _integer(value: bytes) -> str:
    return str(int.from_bytes(value, "big")) if len(value) == 4 else text(value)


def _binary_address(value: bytes) -> str:
    return format_address(value) if len(value) in (4, 16) else text(value)


def _mark(_: bytes) -> str:
    return "present"


_READERS: dict[Kind, _Reader] = {
    "integer": _integer,
    "date": _integer,
    "address": _binary_address,
    "address6": _binary_address,
}
_STANDARD = {field: tuple(map(parse_attribute, sources)) for field, sources in DEFAULT_SOURCES.items()}
_USER_NAME = parse_attribute("User-Name")
_AVPAIR_KEY = vendor_key(CISCO, parse_attribute(AVPAIR).type)
_DIRECTION = DIRECTIONS | {way: way for way in DIRECTIONS.values()}
_NO_FIELDS = Request()
_LAST_PORT = 65535
