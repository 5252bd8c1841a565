"""The errors of a request. A rejected call is not an error: its answer is a Decision."""

from __future__ import annotations

from identengine.errors import IdentengineError


class ClientError(IdentengineError):
    """A request was not answered with a result."""


class AskError(ClientError):
    """The server answered with an error (interfaces.md 3, "Errors")."""

    def __init__(self, code: int, message: str, field: str | None = None, value: object = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        """The JSON-RPC error code, such as -32602 (bad params) or -32001 (not ready)."""
        self.message = message
        """The server's message, without the code."""
        self.field = field
        """Name of the wrong parameter, or None if the error concerns no single parameter."""
        self.value = value
        """Value of that parameter, or None if it is long or secret."""


class EncodingError(ClientError):
    """The request was not sent, since it cannot be encoded. A text may hold half of a surrogate pair."""


class UnansweredError(ClientError):
    """No answer arrived. If ``sent`` is true, the server may have carried out the request."""

    def __init__(self, said: str, *, sent: bool) -> None:
        super().__init__(said)
        self.sent = sent
        """True if the request, or a part of it, may have reached the server."""


class LateError(UnansweredError):
    """No answer arrived in time."""


class LostError(UnansweredError):
    """The connection was lost or is closed."""
