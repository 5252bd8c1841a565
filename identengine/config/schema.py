"""The shape of a checked config: one frozen Struct per section (interfaces.md 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from identengine.config.readers import Endpoint
from identengine.config.secret import Secret
from identengine.errors import KeyFileError
from identengine.model.addresses import Network
from identengine.model.attributes import NamedAttribute
from identengine.model.options import IdentifyOptions, When
from identengine.model.reasons import Codes, Reason, ReasonTable
from identengine.store.vault import Vault, default_key_file

DEFAULT_ENDPOINT = Endpoint("127.0.0.1", 4870)
"""Default address for UDP and TCP."""
DEFAULT_STORE = Path("/var/lib/identengine")
"""Default folder of the store."""


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The store of the book, and the key of its passwords. At most one of ``key_file`` and ``key`` is set."""

    path: Path = DEFAULT_STORE
    key_file: Path | None = None
    """None for the file next to the store (:func:`identengine.store.vault.default_key_file`)."""
    key: Secret | None = None

    def vault(self) -> Vault:
        """Return the keys that decrypt the passwords. Raise KeyFileError if they cannot be read."""
        if self.key is None:
            return Vault.from_file(self.key_file or default_key_file(self.path))
        variable = self.key.variable
        try:
            keys = self.key.reveal()
        except ValueError as error:
            raise KeyFileError(f"[store] key: {error}") from None
        return Vault.from_text(keys, f"${variable}" if variable else "store.key")


class CallsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The set of calls (engine.md 5). Times are in seconds. ``url`` and ``on_outage`` are not served yet."""

    path: Path = Path("/run/identengine")
    url: Secret | None = None
    on_outage: Literal["local", "reject", "allow"] = "local"
    max_legs: int = 100_000
    lapsed_max: int = 1_000_000
    reserved: int = 200
    active: int = 7200
    grace: int = 60
    cps_burst: float = 1.0
    global_capacity: int | None = None
    require_call_id: bool = False


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses that the server listens on, and the standby process."""

    udp: tuple[Endpoint, ...] = (DEFAULT_ENDPOINT,)
    tcp: tuple[Endpoint, ...] = (DEFAULT_ENDPOINT,)
    tls: tuple[Endpoint, ...] = ()
    radius_auth: tuple[Endpoint, ...] = ()
    radius_acct: tuple[Endpoint, ...] = ()
    http: Endpoint | None = None
    """Address for HTTP (interfaces.md 6), which a process of its own serves. None for no HTTP."""
    standby: bool = False
    """True for a second process that has the book loaded and takes over if the decider dies."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Certificate and key for TLS, and the CA of client certificates. Without a CA no certificate is requested."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    client_crl: Path | None = None
    """Revoked client certificates, or None to check none."""


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """TLS for HTTP, and the proxies that may name the address of a client (interfaces.md 6)."""

    trusted_proxies: tuple[Network, ...] = ()
    """Proxies whose X-Forwarded-For is trusted. Off loopback without TLS only they may connect."""
    tls: bool = False
    """True for TLS with the certificate of ``[tls]``. The default is True off loopback without a proxy."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of peers, in the unit that each name ends with. Names without a unit are counts."""

    message_bytes: int = 65536
    connections: int = 1000
    connections_per_switch: int = 200
    idle_seconds: int = 300
    unread_bytes: int = 1_048_576
    datagram_age_ms: int = 400


class RecordConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The record of decisions (engine.md 8.8)."""

    decisions: Literal["rejects", "all", "none"] = "rejects"
    path: Path
    """The default is next to the store (:func:`identengine.record.segments.default_folder`)."""
    max_bytes: int = 64 << 20
    max_age: int = 30
    """Age in days at which decisions are removed."""
    mask_numbers: bool = False


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The format and the least level of the log."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


ReplyStyle: TypeAlias = Literal["cisco", "sip_avp"]
"""A form in which replies carry the decision: VSAs of Cisco, or SIP-AVP (225)."""


class Radius(msgspec.Struct, frozen=True, kw_only=True):
    """The RADIUS of a switch: ``[switch.radius]`` (interfaces.md 5)."""

    require_message_authenticator: Literal["auto"] | bool = "auto"
    """True drops each Access-Request without Message-Authenticator. ``auto`` does so after the first request that
    has one."""
    limit_proxy_state: bool = False
    """True drops each Access-Request that has Proxy-State but no Message-Authenticator (CVE-2024-3596)."""
    ignore_password: Secret | None = None
    """The fixed password of the switch, which says nothing about the caller."""
    reply: tuple[ReplyStyle, ...] = ("cisco",)
    map: dict[str, tuple[NamedAttribute, ...]] = {}
    """The attributes of each field that the switch sends otherwise than the standard mapping. The first present
    attribute counts."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that may send requests (interfaces.md 3, "Who may ask")."""

    name: str
    scope: str
    networks: tuple[Network, ...]
    match_port: When | None = None
    """The value for this switch. None for the value of ``[identify]``."""
    match_protocol: When | None = None
    secret: Secret | None = None
    """The shared secret, which authenticates the switch over RADIUS alone."""
    token: Secret | None = None
    """The token that authenticates the switch over every protocol except RADIUS."""
    certificate: str | None = None
    """A name in the client certificate, in normal form. Either certificate or token authenticates the switch."""
    trusted_network: bool = False
    radius: Radius = Radius()

    @property
    def is_plain(self) -> bool:
        """True if its address alone authenticates the switch."""
        return self.token is None and self.certificate is None and self.secret is None

    @property
    def is_plain_over_radius(self) -> bool:
        """True if an Access-Request of the switch may be unauthenticated: the address and no secret proves it."""
        return self.secret is not None and self.radius.require_message_authenticator is not True

    def options(self, identify: IdentifyOptions) -> IdentifyOptions:
        """Return the options for requests of this switch, with ``identify`` from ``[identify]``."""
        return identify.for_switch(self.match_port, self.match_protocol)


class HttpToken(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token of HTTP and its role: ``read``, or ``operator`` for edits too (interfaces.md 6)."""

    name: str
    role: Literal["read", "operator"]
    token: Secret


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A config without mistakes."""

    source: Path | None
    """The file of the config, which SIGHUP reads again. None for the default config."""
    store: StoreConfig
    calls: CallsConfig
    identify: IdentifyOptions
    codes: dict[int, dict[Reason, Codes]]
    """The codes of ``[reasons]`` by account id. The id 0 stands for all accounts."""
    listen: Listen
    http: Http
    tls: Tls
    limits: Limits
    record: RecordConfig
    log: LogConfig
    postgresql: dict[str, str]
    switches: tuple[Switch, ...]
    tokens: tuple[HttpToken, ...]
    warnings: tuple[str, ...]

    @property
    def reasons(self) -> ReasonTable:
        """The codes as a table. Each call builds a new one."""
        for_account = self.codes.copy()
        return ReasonTable(for_account.pop(0), for_account)
