"""What asking can end with, besides an answer. A rejected call is an answer: a Decision, never one of these."""

from __future__ import annotations

from identengine.errors import IdentengineError


class ClientError(IdentengineError):
    """A request was not answered with a result."""


class AskError(ClientError):
    """The server answers that the request cannot be carried out (the errors of interfaces.md 3)."""

    def __init__(self, code: int, message: str, field: str | None = None, value: object = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        """-32602: bad params, -32001: not ready, -32002: overloaded, and so on."""
        self.message = message
        """What the server says."""
        self.field = field
        """Which parameter is wrong, where it is one."""
        self.value = value
        """Its value, unless that is long or secret."""


class UnansweredError(ClientError):
    """No answer came. Whether the server carried it out is not known, but where ``sent`` is false."""

    def __init__(self, said: str, *, sent: bool) -> None:
        super().__init__(said)
        self.sent = sent
        """Whether the request, or a part of it, may have reached the server."""


class LateError(UnansweredError):
    """No answer came in time."""


class LostError(UnansweredError):
    """The connection was lost, or is closed."""
