"""A scenario of the differential suite: books, settings, and the steps that two responders take.

Rule: a scenario is plain data, made before a responder runs, so that steps and rows can be dropped from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from property.books import Case
from property.oracle import Expected

from identengine.calls.backend import Settings
from identengine.config.schema import Switch
from identengine.config.secret import Secret
from identengine.model.addresses import parse_network
from identengine.model.options import When
from identengine.model.records import Interface
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec


class Sent(NamedTuple):
    """One message as it is received, or an array of messages."""

    raw: bytes
    host: str
    """The source address of a datagram. Messages of connections do not use it."""
    too_old: bool = False
    """True for a datagram that waited too long."""
    messages: int = 1
    """Number of messages in an array; 1 for a single message."""
    plain: bool = False
    """True if the message has the usual shape, so that the usual way can be expected to decide it."""
    expected: Expected | None = None
    """The answer of the oracle to an ``authorize`` with a new call id, if there are no limits."""


class Datagrams(NamedTuple):
    """Datagrams that one system call returned."""

    sent: tuple[Sent, ...]


class Stream(NamedTuple):
    """Messages that one read of a connection completed."""

    connection: int
    """Index of :data:`CONNECTIONS`."""
    sent: tuple[Sent, ...]
    broken: str | None = None
    too_old: bool = False


class Wait(NamedTuple):
    """Time that passes. Afterwards the pending work of the set of calls is done."""

    seconds: float


class Serve(NamedTuple):
    """Another version of the book, with its own options and codes, comes into use."""

    version: int
    """Index of :attr:`Setup.versions`."""


class Restart(NamedTuple):
    """The decider stops, and another one restores the calls."""

    dies: bool
    """True if the mirror is not closed."""


class Room(NamedTuple):
    """The mirror of the calls loses its space, or has space again."""

    full: bool


Step: TypeAlias = Datagrams | Stream | Wait | Serve | Restart | Room


@dataclass(frozen=True)
class Setup:
    """The settings of a decider, and the versions of the book that it serves one after another."""

    versions: tuple[Case, ...]
    calls: Settings
    require_call_id: bool = False
    match: tuple[When | None, When | None] = (None, None)
    """Own match_port and match_protocol of the second switch; None for the values of the options."""
    has_key: bool = True
    """False if no key decrypts the passwords, so that each password is a fault."""
    begins_empty: bool = False
    """True if no book is loaded before the first :class:`Serve`."""


@dataclass(frozen=True)
class Scenario:
    """A setup, and the steps of both sides."""

    seed: int
    setup: Setup
    steps: tuple[Step, ...]

    def with_steps(self, steps: tuple[Step, ...]) -> Scenario:
        """Return the scenario with other steps."""
        return replace(self, steps=steps)

    @property
    def messages(self) -> int:
        """Number of messages in all steps."""
        return sum(
            sent.messages for step in self.steps if isinstance(step, Datagrams | Stream) for sent in step.sent
        )


PLAIN, OTHER, TOKEN, MIXED, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.99"
"""Source addresses: of two switches that share a scope, of one with a token, of two of which one has a token."""
TOKENS = ("token-of-three", "token-of-four")
HOSTS = (PLAIN, OTHER, TOKEN, MIXED)
OFTEN = (*(PLAIN,) * 8, *(OTHER,) * 5, TOKEN, MIXED)
"""The hosts in the shares in which they send datagrams. Messages with a token are not the usual shape."""


class ConnectionSpec(NamedTuple):
    """A connection that peers use: its interface, its source address and its encoding."""

    interface: Interface
    host: str
    codec: Codec


CONNECTIONS = (
    ConnectionSpec("tcp", PLAIN, MESSAGEPACK),
    ConnectionSpec("tcp", PLAIN, JSON),
    ConnectionSpec("tcp", OTHER, JSON),
    ConnectionSpec("tls", OTHER, MESSAGEPACK),
    ConnectionSpec("tcp", TOKEN, MESSAGEPACK),
    ConnectionSpec("tcp", MIXED, JSON),
    ConnectionSpec("http", "127.0.0.1", JSON),
)
OFTEN_USED = (*(0,) * 6, *(1,) * 6, 2, 2, 2, 3, 3, 3, 4, 5, 6)
"""The indexes of the connections in the shares in which they are used."""


def switches(match: tuple[When | None, When | None]) -> tuple[Switch, ...]:
    """Return the switches of the config. ``match`` holds match_port and match_protocol of the second switch."""
    at = {host: (parse_network(host)[0],) for host in HOSTS}
    port, protocol = match
    return (
        Switch(name="one", scope="pair", networks=at[PLAIN]),
        Switch(name="two", scope="pair", networks=at[OTHER], match_port=port, match_protocol=protocol),
        Switch(name="three", scope="three", networks=at[TOKEN], token=Secret(TOKENS[0])),
        Switch(name="four", scope="four", networks=at[MIXED], token=Secret(TOKENS[1])),
        Switch(name="five", scope="pair", networks=at[MIXED]),
    )
