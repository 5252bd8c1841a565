"""The framing of RESP2 by the first bytes of its connections (interfaces.md 3 and 4)."""

from __future__ import annotations

from identengine.wire.framing import Framing
from identengine.wire.resp.access import shows_token
from identengine.wire.resp.framer import FIRST, Commands
from identengine.wire.resp.responder import RespResponder


def framings(responder: RespResponder) -> dict[int, Framing]:
    """Return the framing by each first byte: an asterisk, or a letter of an inline command."""
    return dict.fromkeys(FIRST, Framing(Commands, responder.connection, shows_token, in_order=True))
