"""The client of OpenSIPS' module jsonrpc, byte for byte, and the requests of the config of docs/.

The module opens a connection for each request, and sends the request without a newline. It reads until it has a
whole JSON value, at most 8,192 bytes. Then it closes the connection (``modules/jsonrpc/jsonrpc.c``).
"""

from __future__ import annotations

import itertools
import json
import re
import socket
from collections.abc import Mapping
from typing import Any

from support import HOST, ROOT
from support.waiting import PATIENCE

CONFIG = ROOT / "docs" / "switches" / "opensips" / "opensips.cfg"
_BUFFER_BYTES = 8192
_IDS = itertools.count(70_001, 4)


def message(method: str, params: Mapping[str, Any], number: int | None) -> bytes:
    """Return a request as cJSON prints it: compact, the id first. A notification has the id null."""
    request = {"id": number, "jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode()


def request(port: int, method: str, params: Mapping[str, Any]) -> tuple[int, Any]:
    """Do what ``jsonrpc_request`` does. Return its code (1, or -3 for an error of the engine), and the value.

    Raise TimeoutError if the answer is not complete, and OSError if there is no connection (-2 in OpenSIPS).
    """
    number = next(_IDS)
    with socket.create_connection((HOST, port), PATIENCE) as connection:
        connection.sendall(message(method, params, number))
        received = b""
        while True:
            read = connection.recv(_BUFFER_BYTES - len(received))
            assert read, "OpenSIPS would read again and again until its time is over"
            received += read
            try:
                answer = json.loads(received)
            except ValueError:
                continue
            break
        connection.shutdown(socket.SHUT_RDWR)
    if "error" in answer:
        return -3, answer["error"]
    assert answer["id"] == number
    return 1, answer["result"]


def notify(port: int, method: str, params: Mapping[str, Any]) -> None:
    """Do what ``jsonrpc_notification`` does: send, and close without reading."""
    with socket.create_connection((HOST, port), PATIENCE) as connection:
        connection.sendall(message(method, params, None))
        connection.shutdown(socket.SHUT_RDWR)


class Routes:
    """The routes of a config, by name. Each route is its text without comments."""

    def __init__(self) -> None:
        text = re.sub(r"^\s*#.*\n", "", CONFIG.read_text(), flags=re.MULTILINE)
        found = re.findall(r"^(\w+)(?:\[(\w+)[^]]*\])? \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
        self._routes = {name or kind: body for kind, name, body in found}

    def __getitem__(self, name: str) -> str:
        return str(self._routes[name])

    def names(self) -> list[str]:
        """Return the names of all routes."""
        return list(self._routes)

    def ask(self, name: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the method and the parameters that a route sends, with its variables replaced by ``values``.

        Raise KeyError for a variable without a value. A value of None is not set.
        """
        route = self[name]
        whole = re.search(r'\$json\(ask\) := "(.*)";', route)
        assert whole, name
        params: dict[str, Any] = json.loads(whole[1].replace('\\"', '"'))
        for key, expression in re.findall(r"\$json\(ask/(\w+)\) = (.*);", route):
            found = _evaluated(expression, values)
            if found is not None:
                params[key] = found
        methods = re.findall(r'route\(ASK(?:_ALL)?, "(\w+)"\)|jsonrpc_request\([^,]+, "(\w+)"', route)
        assert len({a or b for a, b in methods}) == 1, name
        params["token"] = _evaluated("$shv(token)", values)
        return str(methods[0][0] or methods[0][1]), params


def _evaluated(expression: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a sum of texts and variables. The sum of a text and a number is a text."""
    parts = [part[1:-1] if part.startswith('"') else values[part] for part in expression.split(" + ")]
    return parts[0] if len(parts) == 1 else "".join(map(str, parts))
