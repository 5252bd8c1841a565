"""The codes of errors, which all protocols count alike (interfaces.md 3, "Errors")."""

from __future__ import annotations

PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
INTERNAL, NOT_READY, OVERLOADED = -32603, -32001, -32002
MALFORMED = frozenset({PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS})
"""Codes of errors that are the fault of the message; the others are the server's state or fault."""
