"""Reads the sections of the config: parsed TOML in, a checked :class:`Config` out (interfaces.md 7).

The whole schema is checked, including keys that this version does not serve yet. :attr:`Config.warnings` names
those, so that no operator relies on them. Relative paths are relative to the folder of the config file.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from identengine.config.readers import (
    Endpoint,
    Reader,
    Table,
    boolean,
    choice,
    endpoint,
    integer,
    items,
    mistake,
    network,
    number,
    number_prefix,
    path_below,
    secret,
    text,
)
from identengine.config.schema import (
    DEFAULT_STORE,
    CallsConfig,
    Config,
    Http,
    Limits,
    Listen,
    LogConfig,
    RecordConfig,
    StoreConfig,
    Tls,
)
from identengine.config.secret import Secret, bare
from identengine.config.switches import is_loopback, read_switches, read_tokens, same_tokens
from identengine.config.weaknesses import weaknesses
from identengine.errors import ConfigError, KeyFileError, expected, quoted
from identengine.model.numbers import longest_first
from identengine.model.options import IdentifyOptions, When
from identengine.model.reasons import STANDARD, Codes, Reason
from identengine.record.segments import default_folder

_BILLION = 1_000_000_000
_ACCOUNT = re.compile(r"[1-9][0-9]{0,18}")


def from_values(values: dict[str, object], source: Path | None, *, serving: bool = True) -> Config:
    """Return the config in the parsed TOML ``values``. Raise ConfigError with every mistake.

    Without ``serving``, for a command, an environment variable is read only when its secret is needed. The config
    then has no warnings, since they concern the server.
    """
    problems: list[str] = []
    warnings: list[str] = []
    folder = source.parent if source else Path()
    root = Table("config", values, problems, serving=serving)
    for_all, for_account = _reasons(root.table("reasons"))
    store = _store(root.table("store"), folder)
    config = Config(
        source=source,
        store=store,
        calls=_calls(root.table("calls"), folder, warnings),
        identify=_identify(root.table("identify")),
        codes={0: for_all} | for_account,
        listen=_listen(root.table("listen")),
        http=Http(),
        tls=_tls(root.table("tls"), folder),
        limits=_limits(root.table("limits")),
        record=_record(root.table("record"), folder, store),
        log=_log(root.table("log")),
        postgresql=_postgresql(root.table("postgresql"), warnings),
        switches=read_switches(root.tables("switch"), warnings, problems),
        tokens=read_tokens(root.tables("token"), problems),
        warnings=(),
    )
    config = msgspec.structs.replace(config, http=_http(root.table("http"), config, warnings))
    root.close()
    problems += same_tokens(config)
    if config.listen.tls and not (config.tls.certificate and config.tls.key):
        problems.append("[listen] tls: expected certificate and key in [tls] too")
    if not (config.listen.tls and config.tls.client_ca):
        problems += [
            f"[[switch]] {quoted(switch.name)} certificate: expected [listen] tls and [tls] client_ca too"
            for switch in config.switches
            if switch.certificate
        ]
    if not (problems or serving):
        return config
    if problems:
        raise ConfigError(problems)
    return msgspec.structs.replace(config, warnings=(*warnings, *weaknesses(config)))


def _store(table: Table, folder: Path) -> StoreConfig:
    found = StoreConfig(
        path=table.take("path", path_below(folder), DEFAULT_STORE),
        key_file=table.take("key_file", path_below(folder), None),
        key=table.take("key", secret, None),
    )
    if found.key_file and found.key:
        table.complain("key", "expected either key or key_file, got both")
    elif found.key and (table.serving or found.key.variable is None):
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
        cps_burst=table.take("cps_burst", number(0, 3600), 1.0),
        global_capacity=table.take("global_capacity", integer(0, _BILLION), None),
        require_call_id=table.take("require_call_id", boolean, False),
    )
    if table.has("path") and table.has("url"):
        table.complain("url", "expected either path or url, got both")
    table.not_served(("url", "on_outage"), warnings)
    table.close()
    return found


def _redis_url(value: object) -> Secret:
    if not text(value).startswith(("redis://", "rediss://", "unix://")):
        raise ValueError(
            expected("a URL that begins with redis://, rediss:// or unix://")
        )  # it can hold a password
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
        table.complain("classes", mistake('at least one of "name", "ip" and "ani"', []))
    table.close()
    return found


def _reasons(table: Table) -> tuple[dict[Reason, Codes], dict[int, dict[Reason, Codes]]]:
    accounts = table.table("account", "[reasons.account]")
    for_all = _codes(table, "reasons", STANDARD)
    for_account = {}
    for key in accounts.values:
        label = f"reasons.account.{bare(key)}"
        one = accounts.table(key, f"[{label}]")
        if not _ACCOUNT.fullmatch(key):  # 017 would be a second key for account 17
            one.problems.append(
                f"[{label}]: expected the id of an account, an integer above 0 without leading zeros"
            )
            continue
        for_account[int(key)] = _codes(one, label, STANDARD | for_all)
    return for_all, for_account


def _codes(table: Table, label: str, standard: dict[Reason, Codes]) -> dict[Reason, Codes]:
    """Return the codes of each reason in ``table``. A code that is not set is that of ``standard``."""
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


def _listen(table: Table) -> Listen:
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
    if not any((found.udp, found.tcp, found.tls, found.radius_auth, found.radius_acct, found.http)):
        keys = "udp, tcp, tls, radius_auth, radius_acct and http"
        table.complain("udp", f"expected an address in at least one of {keys}")
    table.close()
    return found


def _clashes(table: Table, lists: dict[str, tuple[Endpoint, ...]]) -> None:
    """Add a mistake for each address and port that two listeners of one transport share."""
    seen: dict[Endpoint, str] = {}
    for key, endpoints in lists.items():
        for one in endpoints:
            if one.port and seen.setdefault(one, key) != key:
                table.complain(key, f"{quoted(str(one))} is also an address of {seen[one]}. Use another port.")


def _tls(table: Table, folder: Path) -> Tls:
    found = Tls(
        certificate=table.take("certificate", path_below(folder), None),
        key=table.take("key", path_below(folder), None),
        client_ca=table.take("client_ca", path_below(folder), None),
        client_crl=table.take("client_crl", path_below(folder), None),
    )
    if found.client_crl and not found.client_ca:
        table.complain("client_crl", "expected client_ca too, the CA that signed the list")
    table.close()
    return found


def _http(table: Table, config: Config, warnings: list[str]) -> Http:
    """Read ``[http]``. Off loopback a token must not cross a network in clear (interfaces.md 6)."""
    proxies = table.take("trusted_proxies", items(network), Http().trusted_proxies)
    where = config.listen.http
    away = where is not None and not is_loopback(where.host)
    tls = table.take("tls", boolean, away and not proxies)
    table.close()
    if where is None:
        return Http(trusted_proxies=proxies, tls=tls)
    if tls and not (config.tls.certificate and config.tls.key):
        table.problems.append(
            f"[listen] http: {quoted(str(where))} is not loopback, so tokens would cross a network in clear. Set "
            "certificate and key in [tls], or the addresses of a TLS proxy in [http] trusted_proxies."
            if away and not table.has("tls")
            else "[http] tls: expected certificate and key in [tls] too"
        )
    elif away and not tls and not proxies:
        table.complain(
            "tls",
            f"false, but {quoted(str(where))} is not loopback, so tokens would cross a network in clear. "
            "Use TLS, or set the addresses of a TLS proxy in trusted_proxies.",
        )
    if not any(switch.token for switch in config.switches):
        warnings.append(
            "[listen] http: no [[switch]] has a token, so HTTP rejects every request for a decision. "
            'Set token = { env = "NAME" } for each switch that uses HTTP.'
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


def _record(table: Table, folder: Path, store: StoreConfig) -> RecordConfig:
    default = default_folder(store.path)
    found = RecordConfig(
        decisions=table.take("decisions", choice("rejects", "all", "none"), "rejects"),
        path=table.take("path", path_below(folder), default),
        max_bytes=table.take("max_bytes", integer(1 << 20, 1 << 40), 64 << 20),
        max_age=table.take("max_age", integer(1, 36_500), 30),
        mask_numbers=table.take("mask_numbers", boolean, False),
    )
    if table.has("path") and found.path.resolve() == store.path.resolve():
        table.complain("path", "expected another folder than [store] path")
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
    table.not_served(tables, warnings)
    table.close()
    return found
