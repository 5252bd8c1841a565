"""A request in normal form: what the switch sent, read and checked once (engine.md 2, 2.5)."""

from __future__ import annotations

from typing import final

import msgspec

from identengine.identify.index import Book, Bucket
from identengine.model.numbers import national, normal_number
from identengine.model.reasons import Reason
from identengine.model.records import Digest, Direction, Request


class Query(msgspec.Struct, frozen=True, gc=False):
    """What identification looks at; None (``""`` for the dialled number) is a field that the request lacks."""

    direction: Direction
    account_id: int | None
    """Only of termination (engine.md 3.9)."""
    name: str | None
    source: Bucket | None
    """The longest network of an enabled account that contains ``src_ip``."""
    src_ip: str | None
    src_port: int | None
    protocol: str | None
    gateway: str | None
    src_number: str | None
    """Without international prefix, like every calling number and DID (engine.md 2.1)."""
    dst_number: str
    ani: str | None
    """What ani accounts are compared with: the caller's number, on termination the callee's."""
    password: str | None
    digest: Digest | None
    call_id: str | None
    leg_id: str | None

    @property
    def brings_credentials(self) -> bool:
        """Whether anything is there to verify; an empty password is brought, and wrong (engine.md 2.3)."""
        return self.password is not None or self.digest is not None


@final
class Unusable(msgspec.Struct, frozen=True):
    """Why a request cannot be decided at all; ``field`` and ``value`` with ``invalid_request`` (engine.md 2.5)."""

    reason: Reason
    direction: Direction | None
    field: str | None = None
    value: str | None = None


DIRECTIONS: dict[str | None, Direction] = {
    None: Direction.ORIGINATION,
    "": Direction.ORIGINATION,
    **{direction.value: direction for direction in Direction},
}
"""What a request may call a direction."""
_ORIGINATION, _TERMINATION = Direction  # each look at a member of an enum costs as much as a look-up
_MAX_ID = 2**64  # beyond any id of a book: such an account is not unusable but unknown (engine.md 3.9)
_MAX_PORT = 65535


def read(request: Request, book: Book) -> Query | Unusable:
    """Return the request in normal form, or the first thing that makes it unusable.

    An invalid ``dst_number`` comes before anything else; an invalid ``src_number`` counts as absent
    (engine.md 2.1). ``account_id`` is looked at on termination only.
    """
    asked = request.direction
    direction = _ORIGINATION if asked is None else DIRECTIONS.get(asked) or DIRECTIONS.get(asked.strip())
    dst_number = ""
    if request.dst_number is not None:
        try:
            dst_number = normal_number(request.dst_number)
        except ValueError:
            return Unusable(Reason.INVALID_DESTINATION, direction)
    if direction is None:
        return Unusable(Reason.INVALID_REQUEST, None, "direction", request.direction)

    account_id = None
    outward = direction is _TERMINATION
    if outward and request.account_id is not None:
        try:
            account_id = decimal(request.account_id, _MAX_ID)
        except ValueError:
            return Unusable(Reason.INVALID_REQUEST, direction, "account_id", str(request.account_id))
    source = None
    src_ip = request.src_ip or None
    if src_ip is not None:
        try:
            source = book.enabled[direction].source(src_ip)
        except ValueError:
            # Blank is absent, not wrong; it is rare enough to be found out here.
            if src_ip.strip():
                return Unusable(Reason.INVALID_REQUEST, direction, "src_ip", src_ip)
            src_ip = None
    src_port = None
    if request.src_port is not None:
        try:
            src_port = decimal(request.src_port, _MAX_PORT)
        except ValueError:
            return Unusable(Reason.INVALID_REQUEST, direction, "src_port", str(request.src_port))

    src_number = None
    if request.src_number:
        try:
            src_number = national(normal_number(request.src_number), book.prefixes) or None
        except ValueError:
            src_number = None
    name = request.name
    if name is not None:
        name = name.strip() or None
    digest = request.digest
    if digest is not None and not any(field and not field.isspace() for field in msgspec.structs.astuple(digest)):
        digest = None  # every field is absent: nothing was brought (2.3)
    if name is None and digest is not None and digest.username is not None:
        name = digest.username.strip() or None
    ani = src_number
    if outward:
        ani = national(dst_number, book.prefixes) or None
    return Query(
        direction,
        account_id,
        name,
        source,
        src_ip,
        src_port,
        request.protocol.strip().casefold() or None if request.protocol else None,
        request.gateway.strip().casefold() or None if request.gateway else None,
        src_number,
        dst_number,
        ani,
        request.password,
        digest,
        request.call_id if request.call_id and not request.call_id.isspace() else None,
        request.leg_id if request.leg_id and not request.leg_id.isspace() else None,
    )


def decimal(value: int | str, most: int) -> int | None:
    """Return an integer from 1 to ``most``, or None for a blank text; ValueError for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        # int() would take signs, underscores and digits of other scripts.
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise ValueError
        value = int(text)
    if not 1 <= value <= most:
        raise ValueError
    return value
