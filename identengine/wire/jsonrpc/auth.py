"""Authentication in JSON-RPC: a token in each message, or ``auth`` once a connection (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Callable

from identengine.errors import expected
from identengine.wire.codes import BAD_PARAMS, NO_SUCH_METHOD
from identengine.wire.jsonrpc.codec import UNDECODED, Bytes, Codec
from identengine.wire.jsonrpc.messages import Credentials, Field
from identengine.wire.session import Peer, Session

EXPECTED_TOKEN = f"token: {expected('the token of a switch at this address')}"
"""The message of the error if the token of a message is wrong or missing."""


class Authenticator:
    """Finds the switch that a message is from. ``on_wrong_token`` gets the address of each wrong token."""

    def __init__(self, on_wrong_token: Callable[[str], None]) -> None:
        self.on_wrong_token = on_wrong_token

    def peer_of(self, raw: Bytes, codec: Codec, session: Session) -> Peer | None:
        """Return the switch of a message's token, or the session's switch without a token.

        Return None if the switch is unknown.
        """
        try:
            params = codec.credited(raw).params
        except UNDECODED:  # the message itself was decoded, so the token is not a string
            peer = None
        else:
            token = params.token if params is not None else None
            if not token or token.isspace():  # a blank parameter is absent (engine.md 2.3)
                return session.peer
            peer = session.sender_of(token)
        if peer is None:
            self.on_wrong_token(session.host)
        return peer

    def supposed(self, raw: Bytes, codec: Codec, session: Session) -> Peer | None:
        """Return the switch that sent a malformed message, as far as the message shows. Nothing is counted."""
        try:
            params = codec.credited(raw).params if session.checks_tokens else None
        except UNDECODED:
            params = None
        token = params.token if params is not None else None
        return (session.switch_of(token) if token else None) or session.peer

    def unknown(self, message_id: bytes, codec: Codec, session: Session) -> bytes:
        """Return the error that answers a message from no known switch."""
        what = "expected auth with the name of a switch first" if session.may_name else EXPECTED_TOKEN
        return codec.error(message_id, BAD_PARAMS, what, Field("token"))

    def authenticate(
        self, params: Credentials | None, message_id: bytes, codec: Codec, session: Session, *, connected: bool
    ) -> bytes | None:
        """Make the session the switch that ``auth`` names. Return the error that answers it, or None."""
        if not connected:
            what = 'no such method "auth" over UDP. Send the parameter token with each message.'
            return codec.error(message_id, NO_SUCH_METHOD, what)
        token, switch = (params.token, params.switch) if params else (None, None)
        if session.may_name:
            if switch is None or not session.speak_for(switch):
                what = f"switch: {expected('the name of a switch', switch)}"
                return codec.error(message_id, BAD_PARAMS, what, Field("switch"))
        elif not token or token.isspace():
            return codec.error(message_id, BAD_PARAMS, EXPECTED_TOKEN, Field("token"))
        elif not session.authenticate(token):
            self.on_wrong_token(session.host)
            return codec.error(message_id, BAD_PARAMS, EXPECTED_TOKEN, Field("token"))
        return None


def may_hold_token(raw: Bytes) -> bool:
    """Return False if a message cannot have the parameter ``token``, without decoding the message."""
    # A search for one byte is ten times as fast as for the word. In JSON, an escape can hide letters of the word.
    return type(raw) is not bytes or (_K in raw and b"token" in raw) or _ESCAPE in raw


_K, _ESCAPE = b"k\\"
