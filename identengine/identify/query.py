"""Requests in normal form, read and checked once (engine.md 2, 2.5)."""

from __future__ import annotations

from typing import final

import msgspec

from identengine.identify.index import Book, Candidate
from identengine.model.addresses import unbracketed
from identengine.model.numbers import is_normal, national, requested_number
from identengine.model.reasons import Reason
from identengine.model.records import Chap, ChapRequest, Digest, Direction, Request


class Query(msgspec.Struct, frozen=True, gc=False):
    """The fields that identification uses. None, or ``""`` for the dialled number, is an absent field."""

    direction: Direction
    account_id: int | None
    """The account that routing has picked. Only used on termination (engine.md 3.9)."""
    name: str | None
    source: Candidate | None
    """The chain of the longest network of an enabled account that contains ``src_ip``."""
    src_ip: str | None
    src_port: int | None
    protocol: str | None
    gateway: str | None
    src_number: str | None
    """The calling number without international prefix, as in DIDs (engine.md 2.1)."""
    dst_number: str
    ani: str | None
    """The number that ani accounts are compared with: the caller's, on termination the callee's."""
    password: str | None
    digest: Digest | None
    call_id: str | None
    leg_id: str | None
    brings_credentials: bool
    """True if there are credentials of any kind. An empty password counts, and is wrong (engine.md 2.3)."""
    chap: Chap | None = None


@final
class Unusable(msgspec.Struct, frozen=True):
    """A request that cannot be decided. With ``invalid_request`` it names field and value (engine.md 2.5)."""

    reason: Reason
    direction: Direction | None
    field: str | None = None
    value: str | None = None


DIRECTIONS: dict[str | None, Direction] = {
    None: Direction.ORIGINATION,
    "": Direction.ORIGINATION,
    **{direction.value: direction for direction in Direction},
}
"""Direction by its text in a request."""
_ORIGINATION, _TERMINATION = Direction  # access to a member of an enum is slow
_MAX_ID = 2**64  # no id of a book is as large: up to here an account is unknown, not unusable (engine.md 3.9)
_MAX_PORT = 65535
_EMPTY = Digest()


def read(request: Request, book: Book) -> Query | Unusable:
    """Return the request in normal form, or the first field that makes it unusable.

    An invalid ``src_number`` counts as absent (engine.md 2.1). ``account_id`` is read on termination only.
    """
    asked = request.direction
    direction = _ORIGINATION if asked is None else DIRECTIONS.get(asked) or DIRECTIONS.get(asked.strip())
    if direction is None:
        return _without_direction(request)
    outward, source, src_ip = direction is _TERMINATION, None, request.src_ip or None
    if not is_normal(dst_number := request.dst_number or ""):
        try:
            dst_number = requested_number(dst_number)
        except ValueError:
            return Unusable(Reason.INVALID_DESTINATION, direction)
    field = "account_id"
    try:
        account_id = decimal(request.account_id, _MAX_ID) if outward and request.account_id is not None else None
        field = "src_ip"
        if src_ip is not None and (source := (lookup := book.enabled[direction]).singles.get(src_ip)) is None:
            if src_ip.isspace():
                src_ip = None
            else:
                source = lookup.covering(src_ip := unbracketed(src_ip))
        field = "src_port"
        src_port = None if request.src_port is None else decimal(request.src_port, _MAX_PORT)
    except ValueError:
        return Unusable(Reason.INVALID_REQUEST, direction, field, str(getattr(request, field)))
    src_number = request.src_number or None
    if src_number is not None and (book.prefixes or not is_normal(src_number)):
        src_number = _calling_number(src_number, book.prefixes)
    query = Query(
        direction,
        account_id,
        request.name.strip() or None if request.name else None,
        source,
        src_ip,
        src_port,
        request.protocol.strip().casefold() or None if request.protocol else None,
        request.gateway.strip().casefold() or None if request.gateway else None,
        src_number,
        dst_number,
        national(dst_number, book.prefixes) or None if outward else src_number,
        request.password,
        None,
        request.call_id if request.call_id and not request.call_id.isspace() else None,
        request.leg_id if request.leg_id and not request.leg_id.isspace() else None,
        request.password is not None,
    )
    return query if request.digest is None and type(request) is not ChapRequest else _with_proofs(query, request)


def _calling_number(text: str, international_prefixes: tuple[str, ...]) -> str | None:
    """Return a calling number in normal form without its prefix, or None if it is invalid or absent."""
    try:
        return national(requested_number(text), international_prefixes) or None
    except ValueError:
        return None


def _without_direction(request: Request) -> Unusable:
    """Return the fault of a request with an unusable direction. An invalid ``dst_number`` comes before it."""
    try:
        requested_number(request.dst_number or "")
    except ValueError:
        return Unusable(Reason.INVALID_DESTINATION, None)
    return Unusable(Reason.INVALID_REQUEST, None, "direction", request.direction)


def _with_proofs(query: Query, request: Request) -> Query:
    """Return the query of a request with a CHAP response or a digest."""
    if type(request) is ChapRequest:
        query = msgspec.structs.replace(query, chap=request.chap, brings_credentials=True)
    return query if request.digest is None else _with_digest(query, request.digest)


def _with_digest(query: Query, digest: Digest) -> Query:
    """Return the query of a request with a digest, whose user name replaces an absent name.

    A blank field of a digest is absent, and so is a digest that has blank fields only (engine.md 2.3). The double
    quotes around a field are removed (engine.md 3.6).
    """
    fields = map(_unquoted, msgspec.structs.astuple(digest))
    digest = Digest(*(field if field and not field.isspace() else None for field in fields))
    if digest == _EMPTY:
        return query
    name = query.name or (digest.username or "").strip() or None
    return msgspec.structs.replace(query, name=name, digest=digest, brings_credentials=True)


def _unquoted(field: str | None) -> str | None:
    """Return a field of a digest without the double quotes around it."""
    if field is not None and '"' in field and len(text := field.strip()) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return field


def decimal(value: int | str, most: int) -> int | None:
    """Return an integer from 1 to ``most``, or None for a blank text. Raise ValueError for any other value."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        # int() accepts signs, underscores and digits of other scripts.
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise ValueError
        value = int(text)
    if not 1 <= value <= most:
        raise ValueError
    return value
