"""Who asks over HTTP, and what he may (interfaces.md 6): bearer tokens, addresses, trusted proxies. No I/O.

Tokens are looked up by their digest, so that how long it takes tells nothing of them, and a wrong one costs what a
right one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from identengine.config.schema import Config
from identengine.config.switches import LOOPBACK
from identengine.model.addresses import parse_address
from identengine.net.access import Peers
from identengine.server.http.problems import Problem, ProblemError
from identengine.wire.session import digest_of

Role = Literal["switch", "read", "operator"]

_MAY: dict[Role, frozenset[Role]] = {
    "switch": frozenset({"switch"}),
    "read": frozenset({"read", "operator"}),
    "operator": frozenset({"operator"}),
}
"""What is needed, and who has it."""
_MISSING = {"WWW-Authenticate": 'Bearer realm="identengine"'}
_WRONG = {"WWW-Authenticate": 'Bearer realm="identengine", error="invalid_token"'}
MOST_FORWARDED = 64
"""Addresses of X-Forwarded-For that are looked at; no chain of real proxies is so long."""
_SHOWN = 64


class Caller(msgspec.Struct, frozen=True):
    """Who asks: a switch, or a holder of a ``[[token]]``, by the name that the config has for it."""

    role: Role
    name: str


class Source(msgspec.Struct, frozen=True):
    """Where a request comes from, as far as that can be believed."""

    host: str
    """An address; of a proxy that tells something else, that."""
    is_local: bool
    """Whether it is this machine itself, and nothing says that anybody stands between."""


class Roles:
    """The tokens of a config. ``on_refused`` is told, for the log, of each that is refused: whence, and why."""

    def __init__(self, config: Config, on_refused: Callable[[str, str], None]) -> None:
        self._on_refused = on_refused
        self._proxies = config.http.trusted_proxies
        self._peers = Peers(config.switches, config.identify, "http")
        self._switches = {digest_of(one.token.reveal()): one.name for one in config.switches if one.token}
        self._holders = {digest_of(one.token.reveal()): Caller(one.role, one.name) for one in config.tokens}

    def is_proxy(self, host: str) -> bool:
        """Whether an address is a trusted proxy's."""
        packed = _packed(host)
        return packed is not None and any(one.covers(packed) for one in self._proxies)

    def source(self, host: str, forwarded: Sequence[str]) -> Source:
        """Return where a request comes from: the peer, or whom trusted proxies name.

        ``forwarded``: the values of X-Forwarded-For, in their order. Each proxy appends whom it has the request
        from, so the last address that is no trusted proxy's is the client; what stands before it anybody may
        write.
        """
        chain = [one.strip() for one in ",".join(forwarded).split(",")[-MOST_FORWARDED:]] if forwarded else []
        is_local = not chain and is_loopback(host)
        while chain and self.is_proxy(host):
            host = chain.pop()
        return Source(host[:_SHOWN], is_local)

    def caller(self, authorization: str | None, source: Source, needed: Role) -> Caller:
        """Return who asks for what needs a role. Raises ProblemError: 401 or 403."""
        if authorization is None:
            if needed == "read" and not self._holders and source.is_local:
                return Caller("read", "local")
            what = "a bearer token is wanted (Authorization: Bearer …); the config of the server has them"
            raise ProblemError(Problem(401, what), _MISSING)
        scheme, _, token = authorization.partition(" ")
        digest = digest_of(token.strip())
        switch = self._switches.get(digest)
        caller = Caller("switch", switch) if switch else self._holders.get(digest)
        if scheme.lower() != "bearer" or caller is None:
            self._on_refused(source.host, "wrong HTTP token")
            raise ProblemError(Problem(401, "the bearer token is none that this server knows"), _WRONG)
        if caller.role not in _MAY[needed]:
            what = f"the token is that of {caller.name!r}, whose role is {caller.role}; this needs {needed}"
            raise ProblemError(Problem(403, what))
        return self._switch(token.strip(), caller.name, source) if switch else caller

    def _switch(self, token: str, name: str, source: Source) -> Caller:
        """Return the switch of a token; it counts only from the switch's addresses (interfaces.md 3)."""
        try:
            session = self._peers.meet(source.host)
        except ValueError:  # what a proxy tells is no address
            session = None
        peer = session.switch_of(token) if session else None
        if peer is None:
            self._on_refused(source.host, "HTTP token of a switch from another address")
            what = f"the token of {name!r} counts only from its addresses, and {source.host!r} is none of them"
            raise ProblemError(Problem(403, what))
        return Caller("switch", peer.name)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, that nobody else reaches."""
    packed = _packed(host)
    return packed is not None and any(one.covers(packed) for one in LOOPBACK)


def _packed(host: str) -> bytes | None:
    try:
        return parse_address(host.partition("%")[0])  # a link-local source comes with its zone
    except ValueError:
        return None
