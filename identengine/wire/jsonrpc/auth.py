"""Authentication in JSON-RPC: a token in each message, or ``auth`` once a connection (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Callable

from identengine.calls.backend import LegResult
from identengine.wire.jsonrpc.codec import UNDECODED, Bytes, Codec
from identengine.wire.jsonrpc.messages import BAD_PARAMS, NO_SUCH_METHOD, Credentials, Field
from identengine.wire.session import Peer, Session

_WANTED_TOKEN = "token: that of a switch at this address is wanted"  # noqa: S105 - says so, and is none


class Authenticator:
    """Finds out for which switch a message speaks; ``on_wrong_token`` is told of each address that showed one."""

    def __init__(self, on_wrong_token: Callable[[str], None]) -> None:
        self._on_wrong_token = on_wrong_token

    def peer_of(self, raw: Bytes, codec: Codec, session: Session) -> Peer | None:
        """Return which switch a message is of, by the token that comes with it."""
        try:
            params = codec.credited(raw).params
        except UNDECODED:
            return None
        if params is None or params.token is None:
            return session.peer
        peer = session.sender_of(params.token)
        if peer is None:
            self._on_wrong_token(session.host)
        return peer

    def supposed(self, raw: Bytes, codec: Codec, session: Session) -> Peer | None:
        """Return the switch that sent a malformed message, as far as the message shows. Nothing is counted."""
        try:
            params = codec.credited(raw).params if session.wants_token else None
        except UNDECODED:
            params = None
        peer = session.switch_of(params.token) if params and params.token else None
        return peer or session.peer

    def unknown(self, message_id: bytes, codec: Codec, session: Session) -> bytes:
        """Return the error that answers a message of nobody known."""
        what = "say first for which switch you speak" if session.may_name else _WANTED_TOKEN
        return codec.error(message_id, BAD_PARAMS, what, Field("token"))

    def authenticate(
        self, params: Credentials | None, message_id: bytes, codec: Codec, session: Session, *, connected: bool
    ) -> bytes:
        """Return the answer to ``auth``: from now on its connection speaks for a switch."""
        if not connected:
            what = "auth is for connections; each datagram brings its token as a parameter"
            return codec.error(message_id, NO_SUCH_METHOD, what)
        token, switch = (params.token, params.switch) if params else (None, None)
        if session.may_name:
            if switch is None or not session.speak_for(switch):
                return codec.error(message_id, BAD_PARAMS, "switch: the name of one is wanted", Field("switch"))
        elif token is None:
            return codec.error(message_id, BAD_PARAMS, "token: a string is wanted", Field("token"))
        elif not session.show(token):
            self._on_wrong_token(session.host)
            return codec.error(message_id, BAD_PARAMS, _WANTED_TOKEN, Field("token"))
        return codec.answered(message_id, LegResult(True))
