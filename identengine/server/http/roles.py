"""Bearer tokens, their roles, and trusted proxies (interfaces.md 6). No I/O.

Tokens are looked up by their digest, so the time of a look-up reveals nothing about a token. A wrong token costs
as much as a valid one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from identengine.config.schema import Config
from identengine.config.switches import LOOPBACK
from identengine.errors import quoted
from identengine.model.addresses import parse_address
from identengine.net.access import Peers
from identengine.server.http.problems import NO_TOKEN, UNKNOWN_TOKEN, Problem, ProblemError, wrong_role
from identengine.wire.session import digest_of

Role = Literal["switch", "read", "operator"]

_MAY: dict[Role, frozenset[Role]] = {
    "switch": frozenset({"switch"}),
    "read": frozenset({"read", "operator"}),
    "operator": frozenset({"operator"}),
}
"""The roles that may use a path, by the role that the path needs."""
_MISSING = {"WWW-Authenticate": 'Bearer realm="identengine"'}
_WRONG = {"WWW-Authenticate": 'Bearer realm="identengine", error="invalid_token"'}
MOST_FORWARDED = 64
"""The maximum number of X-Forwarded-For addresses that are read. Real chains of proxies are shorter."""
_SHOWN = 64


class Caller(msgspec.Struct, frozen=True):
    """The caller of a request: a switch or the holder of a ``[[token]]``, with its name in the config."""

    role: Role
    name: str


class Source(msgspec.Struct, frozen=True):
    """The origin of a request, as far as the server can trust it."""

    host: str
    """Address of the client. A trusted proxy may have sent any text instead."""
    is_local: bool
    """True if the request comes from this machine, without a sign of a proxy in between."""


class Roles:
    """The tokens of a config. ``on_refused`` is called with the address and the reason of each refused token."""

    def __init__(self, config: Config, on_refused: Callable[[str, str], None]) -> None:
        self._on_refused = on_refused
        self._proxies = config.http.trusted_proxies
        self._peers = Peers(config.switches, config.identify, "http")
        self._switches = {digest_of(one.token.reveal()): one.name for one in config.switches if one.token}
        self._networks = {one.name: one.networks for one in config.switches}
        self._holders = {digest_of(one.token.reveal()): Caller(one.role, one.name) for one in config.tokens}

    def is_proxy(self, host: str) -> bool:
        """Return True if an address belongs to a trusted proxy."""
        packed = _packed(host)
        return packed is not None and any(one.covers(packed) for one in self._proxies)

    def source(self, host: str, forwarded: Sequence[str]) -> Source:
        """Return the origin of a request: the peer, or the client that trusted proxies name.

        ``forwarded`` holds the values of X-Forwarded-For, in their order. Each proxy appends the address of its
        own peer. So the last address that is not a trusted proxy's is the client. All addresses before it can be
        forged.
        """
        chain = [one.strip() for one in ",".join(forwarded).split(",")[-MOST_FORWARDED:]] if forwarded else []
        is_local = not chain and is_loopback(host)
        while chain and self.is_proxy(host):
            host = chain.pop()
        return Source(host[:_SHOWN], is_local)

    def caller(self, authorization: str | None, source: Source, needed: Role) -> Caller:
        """Return the caller of a path that needs a role. Raise ProblemError (401, 403) if it is refused.

        A switch's token counts only from the addresses of its switch (interfaces.md 3). From another address its
        answer is that of an unknown token, so that an attacker cannot test tokens there. The log has the reason.
        """
        if authorization is None:
            if needed == "read" and not self._holders and source.is_local:
                return Caller("read", "local")
            raise ProblemError(Problem(401, NO_TOKEN), _MISSING)
        scheme, _, token = authorization.partition(" ")
        digest = digest_of(token.strip())
        caller = self._switch(token.strip(), source) or self._holders.get(digest)
        if scheme.lower() != "bearer" or caller is None:
            elsewhere = self._elsewhere(digest, source.host)
            self._on_refused(source.host, elsewhere or "wrong HTTP token")
            raise ProblemError(Problem(401, UNKNOWN_TOKEN), _WRONG)
        if caller.role not in _MAY[needed]:
            raise ProblemError(Problem(403, wrong_role(caller.name, caller.role, needed)))
        return caller

    def _switch(self, token: str, source: Source) -> Caller | None:
        """Return the switch with a token at the address of a request, or None."""
        try:
            session = self._peers.meet(source.host)
        except ValueError:  # a proxy sent a text that is not an address
            return None
        peer = session.switch_of(token) if session else None
        return Caller("switch", peer.name) if peer else None

    def _elsewhere(self, digest: bytes, host: str) -> str | None:
        """Return the reason, for the log, why the token of a switch is refused. Return None for other tokens."""
        name = self._switches.get(digest)
        if name is None:
            return None
        packed = _packed(host)
        if packed is not None and any(network.covers(packed) for network in self._networks[name]):
            return f"HTTP token of {quoted(name)} from an address in a smaller network of another switch"
        return f"HTTP token of {quoted(name)} from another address"


def is_loopback(host: str) -> bool:
    """Return True if an address is a loopback address, which other machines cannot reach."""
    packed = _packed(host)
    return packed is not None and any(one.covers(packed) for one in LOOPBACK)


def _packed(host: str) -> bytes | None:
    try:
        return parse_address(host.partition("%")[0])  # a link-local source comes with its zone
    except ValueError:
        return None
