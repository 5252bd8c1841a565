"""The config of a server: TOML in, frozen Structs out, every mistake named with its key at once (interfaces.md 7).

The whole schema is checked, also what this version does not serve yet: such keys are named in
:attr:`Config.warnings`, so that nobody believes in a listener that is not there. A key that would keep somebody
out is an error instead, since ignoring it would let him in.
Relative paths are relative to the folder of the config file.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from identengine.config.readers import (
    Endpoint,
    Reader,
    Secret,
    Table,
    bare,
    bearer,
    boolean,
    choice,
    endpoint,
    integer,
    items,
    network,
    number_prefix,
    path_below,
    secret,
    text,
    word,
)
from identengine.errors import ConfigError, KeyFileError
from identengine.model.addresses import Network, format_network, parse_address, parse_network
from identengine.model.numbers import longest_first
from identengine.model.options import IdentifyOptions, When
from identengine.model.reasons import STANDARD, Codes, Reason, ReasonTable
from identengine.store.vault import Vault, default_key_file

DEFAULT_ENDPOINT = Endpoint("127.0.0.1", 4870)
DEFAULT_STORE = Path("/var/lib/identengine")
_LOOPBACK = (parse_network("127.0.0.0/8")[0], parse_network("::1")[0])
_BILLION = 1_000_000_000
_LARGEST = 16 << 20
"""Bytes of a config file; only what is none has more."""
_DEEP = 50
_DIGITS = re.compile(r"[0-9](?:_?[0-9]){1000,}")
_TUPLE = re.compile(r"\((?:'[^']*',? ?)+\)")
_ACCOUNT = re.compile(r"[1-9][0-9]{0,18}")
_FIXED = ("store", "calls", "listen", "tls")
"""Sections that are read at start alone."""


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
    reasons: ReasonTable
    codes: dict[int, dict[Reason, Codes]]
    """What ``reasons`` was made of, by account id, 0 for all accounts: to see whether a re-read changed them."""
    listen: Listen
    http: Http
    tls: Tls
    limits: Limits
    log: LogConfig
    postgresql: dict[str, str]
    switches: tuple[Switch, ...]
    tokens: tuple[HttpToken, ...]
    warnings: tuple[str, ...]


def load(path: Path | None) -> Config:
    """Return the config in the file ``path``; the default one where it is None.

    Raises ConfigError with every mistake, each named with its key.
    """
    if path is None:
        return from_values({}, None)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}"]) from error
    if len(content) > _LARGEST:
        raise ConfigError([f"{path} is larger than {_LARGEST >> 20} MiB; no config is"])
    return from_values(_parsed(content, path), path)


def reread(old: Config) -> tuple[Config, list[str]]:
    """Return the config of the same file as it is now, as far as it may change while a server runs.

    With it the names of the sections that changed and may not: those are as they were. Raises ConfigError.
    """
    new = load(old.source)
    changed = [name for name in _FIXED if getattr(new, name) != getattr(old, name)]
    new = msgspec.structs.replace(new, **{name: getattr(old, name) for name in changed})
    if new.http.tls != old.http.tls:  # it may follow from [listen], and the socket is bound
        new = msgspec.structs.replace(new, http=msgspec.structs.replace(new.http, tls=old.http.tls))
        changed += [] if "listen" in changed else ["http"]
    return new, changed


def _parsed(content: bytes, path: Path) -> dict[str, object]:
    """Return the values of a file of TOML; ConfigError, with the line, where it is none."""
    try:
        written = content.decode("utf-8-sig")  # some editors put the mark of UTF-8 before a text
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path} is not UTF-8: line {line} is in another encoding"]) from error
    try:
        return tomllib.loads(written)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path} is not TOML: {_TUPLE.sub(_table_name, str(error))}"]) from error
    except RecursionError:
        raise ConfigError([f"{path}: lists or tables within each other, too deep{_deepest(written)}"]) from None
    except ValueError as error:  # of int(), which takes so many digits and no more; tomllib lets it through
        long = _DIGITS.search(written)
        line = written.count("\n", 0, long.start()) + 1 if long else 0
        raise ConfigError(
            [f"{path}: {f'line {line}: an integer of too many digits' if line else error}"]
        ) from None


def _table_name(names: re.Match[str]) -> str:
    """Return the heading of a table that tomllib names as a tuple."""
    return f"[{'.'.join(ast.literal_eval(names[0]))}]"


def _deepest(written: str) -> str:
    """Return in which line brackets begin to be deep, as a clause; those in texts count too."""
    depth = 0
    for number, line in enumerate(written.splitlines(), 1):
        for character in line:
            depth += (character in "[{") - (character in "]}")
            if depth > _DEEP:
                return f" (line {number})"
    return ""


def from_values(values: dict[str, object], source: Path | None) -> Config:
    """Return the config that the parsed TOML ``values`` says; raises ConfigError with every mistake."""
    problems: list[str] = []
    warnings: list[str] = []
    folder = source.parent if source else Path()
    root = Table("config", values, problems)
    for_all, for_account = _reasons(root.table("reasons"))
    config = Config(
        source=source,
        store=_store(root.table("store"), folder),
        calls=_calls(root.table("calls"), folder, warnings),
        identify=_identify(root.table("identify")),
        reasons=ReasonTable(for_all, for_account),
        codes={0: for_all} | for_account,
        listen=_listen(root.table("listen"), warnings),
        http=Http(),
        tls=_tls(root.table("tls"), folder),
        limits=_limits(root.table("limits")),
        log=_log(root.table("log")),
        postgresql=_postgresql(root.table("postgresql"), warnings),
        switches=_switches(root.tables("switch"), warnings, problems),
        tokens=_tokens(root.tables("token"), problems),
        warnings=(),
    )
    config = msgspec.structs.replace(config, http=_http(root.table("http"), config, warnings))
    root.close()
    _same_tokens(config, problems)
    if config.listen.tls and not (config.tls.certificate and config.tls.key):
        problems.append("[listen] tls: needs certificate and key under [tls]")
    if not (config.listen.tls and config.tls.client_ca):
        problems += [
            f"[[switch]] {switch.name!r} certificate: needs [listen] tls and [tls] client_ca"
            for switch in config.switches
            if switch.certificate
        ]
    if problems:
        raise ConfigError(problems)
    return msgspec.structs.replace(config, warnings=tuple(warnings))


def _store(table: Table, folder: Path) -> StoreConfig:
    found = StoreConfig(
        path=table.take("path", path_below(folder), DEFAULT_STORE),
        key_file=table.take("key_file", path_below(folder), None),
        key=table.take("key", secret, None),
    )
    if found.key_file and found.key:
        table.complain("key", "stands beside key_file; one of the two is enough")
    elif found.key:
        try:
            found.vault()
        except KeyFileError as error:
            table.complain("key", str(error))
    table.close()
    return found


def _calls(table: Table, folder: Path, warnings: list[str]) -> CallsConfig:
    count = integer(1, _BILLION)
    found = CallsConfig(
        path=table.take("path", path_below(folder), CallsConfig().path),
        url=table.take("url", _redis_url, None),
        on_outage=table.take("on_outage", choice("local", "reject", "allow"), "local"),
        max_legs=table.take("max_legs", count, 100_000),
        lapsed_max=table.take("lapsed_max", integer(0, _BILLION), 1_000_000),
        reserved=table.take("reserved", integer(1, 86_400), 200),
        active=table.take("active", integer(1, 604_800), 7200),
        grace=table.take("grace", integer(0, 86_400), 60),
        global_capacity=table.take("global_capacity", integer(0, _BILLION), None),
        require_call_id=table.take("require_call_id", boolean, False),
    )
    if table.has("path") and table.has("url"):
        table.complain("url", "stands beside path; one of the two is enough")
    _not_served(table, ("url", "on_outage"), warnings)
    table.close()
    return found


def _redis_url(value: object) -> Secret:
    if not text(value).startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("a URL that begins with redis://, rediss:// or unix:// is wanted")
    return Secret(text(value))


def _identify(table: Table) -> IdentifyOptions:
    standard = IdentifyOptions()
    when: Reader[When] = choice("always", "never")
    found = IdentifyOptions(
        classes=table.take("classes", items(choice("name", "ip", "ani")), standard.classes),
        rank=table.take("rank", choice("mask_first", "tech_prefix_first"), "mask_first"),
        match_port=table.take("match_port", when, "always"),
        match_protocol=table.take("match_protocol", when, "always"),
        strict_ambiguity=table.take("strict_ambiguity", boolean, False),
        require_password=table.take("require_password", boolean, False),
        passwordless_name=table.take("passwordless_name", choice("deny", "after_ip", "normal"), "deny"),
        international_prefixes=longest_first(table.take("international_prefixes", items(number_prefix), ())),
    )
    if not found.classes:
        table.complain("classes", "at least one of name, ip and ani is wanted")
    table.close()
    return found


def _reasons(table: Table) -> tuple[dict[Reason, Codes], dict[int, dict[Reason, Codes]]]:
    accounts = table.table("account", "[reasons.account]")
    for_all = _codes(table, "reasons", STANDARD)
    for_account = {}
    for key in accounts.values:
        label = f"reasons.account.{bare(key)}"
        one = accounts.table(key, f"[{label}]")
        if not _ACCOUNT.fullmatch(key):  # nor 017 beside 17
            one.problems.append(f"[{label}]: the id of an account is wanted, an integer above 0")
            continue
        for_account[int(key)] = _codes(one, label, STANDARD | for_all)
    return for_all, for_account


def _codes(table: Table, label: str, standard: dict[Reason, Codes]) -> dict[Reason, Codes]:
    """Return the codes of each reason below ``table``; a code that is left out is that of ``standard``."""
    found = {}
    for reason in Reason:
        if not table.has(reason):
            table.table(reason)
            continue
        one = table.table(reason, f"[{label}.{reason}]")
        found[reason] = Codes(
            sip_code=one.take("sip_code", integer(300, 699), standard[reason].sip_code),
            q850=one.take("q850", integer(1, 127), standard[reason].q850),
            h323=one.take("h323", integer(0, 255), standard[reason].h323),
        )
        one.close()
    table.close()
    return found


def _listen(table: Table, warnings: list[str]) -> Listen:
    endpoints = items(endpoint)
    found = Listen(
        udp=table.take("udp", endpoints, Listen().udp),
        tcp=table.take("tcp", endpoints, Listen().tcp),
        tls=table.take("tls", endpoints, ()),
        radius_auth=table.take("radius_auth", endpoints, ()),
        radius_acct=table.take("radius_acct", endpoints, ()),
        http=table.take("http", endpoint, None),
        standby=table.take("standby", boolean, False),
    )
    _clashes(table, {"tcp": found.tcp, "tls": found.tls, "http": (found.http,) if found.http else ()})
    _clashes(table, {"udp": found.udp, "radius_auth": found.radius_auth, "radius_acct": found.radius_acct})
    if not (found.udp or found.tcp or found.tls or found.http):
        table.complain("udp", "is empty and so are tcp, tls and http: nothing would be served")
    _not_served(table, ("radius_auth", "radius_acct"), warnings)
    table.close()
    return found


def _clashes(table: Table, lists: dict[str, tuple[Endpoint, ...]]) -> None:
    """Complain where two kinds of listeners of one transport want the same address and port."""
    seen: dict[Endpoint, str] = {}
    for key, endpoints in lists.items():
        for one in endpoints:
            if one.port and seen.setdefault(one, key) != key:
                table.complain(key, f"{str(one)!r} is already taken by {seen[one]}")


def _tls(table: Table, folder: Path) -> Tls:
    found = Tls(
        certificate=table.take("certificate", path_below(folder), None),
        key=table.take("key", path_below(folder), None),
        client_ca=table.take("client_ca", path_below(folder), None),
    )
    table.close()
    return found


def _http(table: Table, config: Config, warnings: list[str]) -> Http:
    """Read ``[http]``; off loopback a token must not go in clear over a network (interfaces.md 6)."""
    proxies = table.take("trusted_proxies", items(network), Http().trusted_proxies)
    where = config.listen.http
    away = where is not None and not _is_loopback(where.host)
    tls = table.take("tls", boolean, away and not proxies)
    table.close()
    if where is None:
        return Http(trusted_proxies=proxies, tls=tls)
    if tls and not (config.tls.certificate and config.tls.key):
        table.problems.append(
            f"[listen] http: {str(where)!r} is not loopback, so that tokens would go over a network in clear: it "
            "needs certificate and key under [tls], or a proxy that has them, named in [http] trusted_proxies"
            if away and not table.has("tls")
            else "[http] tls: needs certificate and key under [tls]"
        )
    elif away and not tls and not proxies:
        table.complain("tls", f"is false, and {str(where)!r} is not loopback: name the proxy in trusted_proxies")
    if not any(switch.token for switch in config.switches):
        warnings.append(
            "[listen] http: no [[switch]] has a token, so that nobody may ask for decisions there; "
            'give those that shall one: token = { env = "NAME" }'
        )
    return Http(trusted_proxies=proxies, tls=tls)


def _limits(table: Table) -> Limits:
    standard = Limits()
    found = Limits(
        message_bytes=table.take("message_bytes", integer(1024, 16_777_215), standard.message_bytes),
        connections=table.take("connections", integer(1, 1_000_000), standard.connections),
        connections_per_switch=table.take(
            "connections_per_switch", integer(1, 1_000_000), standard.connections_per_switch
        ),
        idle_seconds=table.take("idle_seconds", integer(1, 86_400), standard.idle_seconds),
        unread_bytes=table.take("unread_bytes", integer(4096, 1_073_741_824), standard.unread_bytes),
        datagram_age_ms=table.take("datagram_age_ms", integer(1, 60_000), standard.datagram_age_ms),
    )
    table.close()
    return found


def _log(table: Table) -> LogConfig:
    found = LogConfig(
        format=table.take("format", choice("text", "json"), "text"),
        level=table.take("level", choice("debug", "info", "warning", "error"), "info"),
    )
    table.close()
    return found


def _postgresql(table: Table, warnings: list[str]) -> dict[str, str]:
    tables = ("clients", "accounts", "dids")
    found = {name: query for name in tables if (query := table.take(name, text, ""))}
    _not_served(table, tables, warnings)
    table.close()
    return found


def _switches(tables: list[Table] | None, warnings: list[str], problems: list[str]) -> tuple[Switch, ...]:
    if tables is None:
        return (Switch(name="local", scope="local", networks=_LOOPBACK),)
    found = [_switch(table, warnings) for table in tables]
    if not found:
        warnings.append("[[switch]] is an empty list: nobody may ask")
    _repeated_names("switch", [switch.name for switch in found], problems)
    _undistinguished(found, problems)
    return tuple(found)


def _undistinguished(switches: list[Switch], problems: list[str]) -> None:
    """Complain of switches at one address that nothing tells apart."""
    seen: dict[tuple[Network, str | None], str] = {}
    for switch in switches:
        token = switch.token.reveal() if switch.token else None
        shown: list[str | None] = [one for one in (token, switch.certificate) if one is not None]
        for one in dict.fromkeys((at, what) for at in switch.networks for what in shown or [None]):
            other = seen.setdefault(one, switch.name)
            if other != switch.name:
                problems.append(
                    f"[[switch]] {switch.name!r} addresses: {format_network(one[0])} is also one of {other!r}; "
                    "where two switches share an address, each needs a token or certificate of its own"
                )


def _subject(value: object) -> str:
    return text(value).strip().lower()


def _switch(table: Table, warnings: list[str]) -> Switch:
    when: Reader[When | None] = choice("always", "never")
    auto: Reader[Literal["auto"] | bool] = choice("auto", True, False)
    name = table.take("name", word, "")
    for key in ("name", "addresses"):
        if not table.has(key):
            table.complain(key, "is wanted for each switch")
    found = Switch(
        name=name,
        scope=table.take("scope", word, name),
        networks=table.take("addresses", items(network), ()),
        match_port=table.take("match_port", when, None),
        match_protocol=table.take("match_protocol", when, None),
        secret=table.take("secret", secret, None),
        token=table.take("token", secret, None),
        certificate=table.take("certificate", _subject, None),
        trusted_network=table.take("trusted_network", boolean, False),
        ignore_password=table.take("ignore_password", secret, None),
        require_message_authenticator=table.take("require_message_authenticator", auto, "auto"),
        limit_proxy_state=table.take("limit_proxy_state", auto, "auto"),
    )
    if table.has("addresses") and not found.networks and table.values["addresses"] == []:
        table.complain("addresses", "at least one address or network is wanted")
    away = [one for one in found.networks if not _on_loopback(one)]
    if away and not (found.trusted_network or found.token or found.certificate):
        table.complain(
            "addresses",
            f"{format_network(away[0])} is not loopback, and a datagram's source can be forged: "
            "give the switch a token or a certificate, or say trusted_network = true if that network lets no "
            "foreign packet in",
        )
    _not_served(
        table,
        ("secret", "ignore_password", "require_message_authenticator", "limit_proxy_state"),
        warnings,
    )
    table.close()
    return found


def _on_loopback(one: Network) -> bool:
    if len(one.address) == 4:
        return one.address[0] == 127 and one.length >= 8
    return one == _LOOPBACK[1]


def _is_loopback(host: str) -> bool:
    return any(one.covers(parse_address(host)) for one in _LOOPBACK)


def _tokens(tables: list[Table] | None, problems: list[str]) -> tuple[HttpToken, ...]:
    found = []
    for table in tables or ():
        for key in ("name", "role", "token"):
            if not table.has(key):
                table.complain(key, "is wanted for each token")
        found.append(
            HttpToken(
                name=table.take("name", word, ""),
                role=table.take("role", choice("read", "operator"), "read"),
                token=table.take("token", bearer, Secret("")),
            )
        )
        table.close()
    _repeated_names("token", [token.name for token in found], problems)
    return tuple(found)


def _same_tokens(config: Config, problems: list[str]) -> None:
    """Complain where the token of a role is another one's too: what it may do would be left to chance."""
    owners: dict[Secret, str] = {}
    for switch in config.switches:
        if switch.token is not None:
            owners.setdefault(switch.token, f"[[switch]] {switch.name!r}")
    for token in config.tokens:
        if not token.token.reveal():  # it was complained of already
            continue
        label = f"[[token]] {token.name!r}"
        owner = owners.setdefault(token.token, label)
        if owner != label:
            problems.append(f"{label} token: is the same as that of {owner}; each needs its own")


def _repeated_names(kind: str, names: list[str], problems: list[str]) -> None:
    problems.extend(
        f"[[{kind}]] {name!r} name: stands there {names.count(name)} times; each needs its own"
        for name in sorted({name for name in names if name and names.count(name) > 1})
    )


def _not_served(table: Table, keys: tuple[str, ...], warnings: list[str]) -> None:
    """Warn of each key that the operator set and that this version does not serve; what turns off is fine."""
    warnings.extend(
        f"{table.label} {key}: not yet served by this version"
        for key in keys
        if table.has(key) and table.values[key] is not False and table.values[key] != []
    )
