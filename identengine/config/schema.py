"""The shape of a checked config: one frozen Struct a section (interfaces.md 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from identengine.config.readers import Endpoint, Secret
from identengine.model.addresses import Network
from identengine.model.options import IdentifyOptions, When
from identengine.model.reasons import Codes, Reason, ReasonTable
from identengine.store.vault import Vault, default_key_file

DEFAULT_ENDPOINT = Endpoint("127.0.0.1", 4870)
DEFAULT_STORE = Path("/var/lib/identengine")


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the book is and what opens its passwords; at most one of ``key_file`` and ``key`` is set."""

    path: Path = DEFAULT_STORE
    key_file: Path | None = None
    """None: the one beside the store (:func:`identengine.store.vault.default_key_file`)."""
    key: Secret | None = None

    def vault(self) -> Vault:
        """Return the keys that open the passwords; KeyFileError where they cannot be had."""
        if self.key is None:
            return Vault.from_file(self.key_file or default_key_file(self.path))
        variable = self.key.variable
        return Vault.from_text(self.key.reveal(), f"${variable}" if variable else "store.key")


class CallsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The set of calls (engine.md 5); times in seconds. ``url`` and ``on_outage`` are not served yet."""

    path: Path = Path("/run/identengine")
    url: Secret | None = None
    on_outage: Literal["local", "reject", "allow"] = "local"
    max_legs: int = 100_000
    lapsed_max: int = 1_000_000
    reserved: int = 200
    active: int = 7200
    grace: int = 60
    global_capacity: int | None = None
    require_call_id: bool = False


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """What the server listens on."""

    udp: tuple[Endpoint, ...] = (DEFAULT_ENDPOINT,)
    tcp: tuple[Endpoint, ...] = (DEFAULT_ENDPOINT,)
    tls: tuple[Endpoint, ...] = ()
    radius_auth: tuple[Endpoint, ...] = ()
    radius_acct: tuple[Endpoint, ...] = ()
    http: Endpoint | None = None
    """HTTP (interfaces.md 6), served by a process of its own; None: there is none."""
    standby: bool = False
    """Whether a second process has the book loaded and takes over when the decider dies."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Certificate and key of the TLS port, and who signs client certificates; None: none is asked for."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """How HTTP is served, and who may speak for others (interfaces.md 6)."""

    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For tells the client's address; off loopback without TLS only they may connect."""
    tls: bool = False
    """Whether it speaks TLS, with the certificate of ``[tls]``; by default off loopback without a proxy."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer may take; bytes, seconds or a count, as the name says."""

    message_bytes: int = 65536
    connections: int = 1000
    connections_per_switch: int = 200
    idle_seconds: int = 300
    unread_bytes: int = 1_048_576
    datagram_age_ms: int = 400


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the log is written."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that may ask (interfaces.md 3, "Who may ask")."""

    name: str
    scope: str
    networks: tuple[Network, ...]
    match_port: When | None = None
    """Its own instead of that of ``[identify]``; None: as there."""
    match_protocol: When | None = None
    secret: Secret | None = None
    token: Secret | None = None
    """What it shows itself by, over everything but RADIUS."""
    certificate: str | None = None
    """A name in its client certificate, in lower case; it may show itself by that or by its token."""
    trusted_network: bool = False
    ignore_password: Secret | None = None
    require_message_authenticator: Literal["auto"] | bool = "auto"
    limit_proxy_state: Literal["auto"] | bool = "auto"

    def options(self, identify: IdentifyOptions) -> IdentifyOptions:
        """Return how its requests are identified, where ``[identify]`` says ``identify``."""
        return identify.for_switch(self.match_port, self.match_protocol)


class HttpToken(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token of HTTP and its role: ``read`` looks, ``operator`` edits too (interfaces.md 6)."""

    name: str
    role: Literal["read", "operator"]
    token: Secret


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A config that was checked whole."""

    source: Path | None
    """The file it came from, None for the default config; SIGHUP reads it again."""
    store: StoreConfig
    calls: CallsConfig
    identify: IdentifyOptions
    codes: dict[int, dict[Reason, Codes]]
    """The codes of ``[reasons]``, by account id; 0 for all accounts."""
    listen: Listen
    http: Http
    tls: Tls
    limits: Limits
    log: LogConfig
    postgresql: dict[str, str]
    switches: tuple[Switch, ...]
    tokens: tuple[HttpToken, ...]
    warnings: tuple[str, ...]

    @property
    def reasons(self) -> ReasonTable:
        """The codes as a table, made anew at each call."""
        for_account = self.codes.copy()
        return ReasonTable(for_account.pop(0), for_account)
