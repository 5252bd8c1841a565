"""Sections of the config that a running server can change, and sections that need a restart."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from identengine.config import codec
from identengine.config.changes import FIXED, RELOADABLE, changes
from identengine.config.schema import Config, Listen
from identengine.config.secret import Secret
from identengine.config.sections import from_values

SWITCH = '[[switch]]\nname = "a"\naddresses = ["127.0.0.1"]\n'
RADIUS = f"{SWITCH}secret = 's'\n[switch.radius]\n"
TOKEN = '[[token]]\nname = "noc"\nrole = "read"\ntoken = "of noc"\n'
CERTIFIED = (
    "[listen]\ntls = ['127.0.0.1:4871']\n[tls]\ncertificate = 'c'\nkey = 'k'\nclient_ca = 'ca'\n"
    f"{SWITCH}certificate = 'a.example'\n"
)
KEY = "A" * 43 + "="
OVER_TLS = "[listen]\ntls = ['127.0.0.1:80']\n[tls]\ncertificate = 'c'\nkey = 'k'\n"
FILES = "[listen]\nhttp = '127.0.0.1:80'\n[tls]\ncertificate = 'c'\nkey = 'k'\n"

KEYS = {
    "store.path": ("", "[store]\npath = 's'", (), ("[store]",)),
    "store.key_file": ("", "[store]\nkey_file = 's'", (), ("[store]",)),
    "store.key": ("", f"[store]\nkey = '{KEY}'", (), ("[store]",)),
    "calls.path": ("", "[calls]\npath = 'c'", (), ("[calls]",)),
    "calls.url": ("", "[calls]\nurl = 'redis://h'", (), ("[calls]",)),
    "calls.on_outage": ("", "[calls]\non_outage = 'allow'", (), ("[calls]",)),
    "calls.max_legs": ("", "[calls]\nmax_legs = 5", (), ("[calls]",)),
    "calls.lapsed_max": ("", "[calls]\nlapsed_max = 5", (), ("[calls]",)),
    "calls.reserved": ("", "[calls]\nreserved = 5", (), ("[calls]",)),
    "calls.active": ("", "[calls]\nactive = 5", (), ("[calls]",)),
    "calls.grace": ("", "[calls]\ngrace = 5", (), ("[calls]",)),
    "calls.cps_burst": ("", "[calls]\ncps_burst = 5", (), ("[calls]",)),
    "calls.global_capacity": ("", "[calls]\nglobal_capacity = 5", (), ("[calls]",)),
    "calls.require_call_id": ("", "[calls]\nrequire_call_id = true", (), ("[calls]",)),
    "identify.classes": ("", "[identify]\nclasses = ['ip']", ("[identify]",), ()),
    "identify.rank": ("", "[identify]\nrank = 'tech_prefix_first'", ("[identify]",), ()),
    "identify.match_port": ("", "[identify]\nmatch_port = 'never'", ("[identify]",), ()),
    "identify.match_protocol": ("", "[identify]\nmatch_protocol = 'never'", ("[identify]",), ()),
    "identify.strict_ambiguity": ("", "[identify]\nstrict_ambiguity = true", ("[identify]",), ()),
    "identify.require_password": ("", "[identify]\nrequire_password = true", ("[identify]",), ()),
    "identify.passwordless_name": ("", "[identify]\npasswordless_name = 'normal'", ("[identify]",), ()),
    "identify.international_prefixes": ("", "[identify]\ninternational_prefixes = ['00']", ("[identify]",), ()),
    "codes.reason": ("", "[reasons.no_did]\nq850 = 1", ("[reasons]",), ()),
    "codes.account": ("", "[reasons.account.17.no_did]\nq850 = 1", ("[reasons]",), ()),
    "listen.udp": ("", "[listen]\nudp = ['127.0.0.1:1']", (), ("[listen]",)),
    "listen.tcp": ("", "[listen]\ntcp = ['127.0.0.1:1']", (), ("[listen]",)),
    "listen.tls": ("[tls]\ncertificate = 'c'\nkey = 'k'", OVER_TLS, (), ("[listen]",)),
    "listen.radius_auth": ("", "[listen]\nradius_auth = ['127.0.0.1:1']", (), ("[listen]",)),
    "listen.radius_acct": ("", "[listen]\nradius_acct = ['127.0.0.1:1']", (), ("[listen]",)),
    "listen.http": ("", "[listen]\nhttp = '127.0.0.1:80'", (), ("[listen]",)),
    "listen.standby": ("", "[listen]\nstandby = true", (), ("[listen]",)),
    "http.trusted_proxies": ("", "[http]\ntrusted_proxies = ['10.0.0.1']", ("[http]",), ()),
    "http.tls": (FILES, f"{FILES}[http]\ntls = true", (), ("[http] tls",)),
    "tls.certificate": ("", "[tls]\ncertificate = 'c'", (), ("[tls]",)),
    "tls.key": ("", "[tls]\nkey = 'c'", (), ("[tls]",)),
    "tls.client_ca": ("", "[tls]\nclient_ca = 'c'", (), ("[tls]",)),
    "tls.client_crl": ("[tls]\nclient_ca = 'c'", "[tls]\nclient_ca = 'c'\nclient_crl = 'r'", (), ("[tls]",)),
    "limits.message_bytes": ("", "[limits]\nmessage_bytes = 5000", ("[limits]",), ()),
    "limits.connections": ("", "[limits]\nconnections = 5", ("[limits]",), ()),
    "limits.connections_per_switch": ("", "[limits]\nconnections_per_switch = 5", ("[limits]",), ()),
    "limits.idle_seconds": ("", "[limits]\nidle_seconds = 5", ("[limits]",), ()),
    "limits.unread_bytes": ("", "[limits]\nunread_bytes = 5000", ("[limits]",), ()),
    "limits.datagram_age_ms": ("", "[limits]\ndatagram_age_ms = 5", ("[limits]",), ()),
    "record.decisions": ("", "[record]\ndecisions = 'all'", ("[record]",), ()),
    "record.path": ("", "[record]\npath = 'r'", ("[record]",), ()),
    "record.max_bytes": ("", "[record]\nmax_bytes = 2000000", ("[record]",), ()),
    "record.max_age": ("", "[record]\nmax_age = 5", ("[record]",), ()),
    "record.mask_numbers": ("", "[record]\nmask_numbers = true", ("[record]",), ()),
    "log.format": ("", "[log]\nformat = 'json'", ("[log]",), ()),
    "log.level": ("", "[log]\nlevel = 'debug'", ("[log]",), ()),
    "postgresql.clients": ("", "[postgresql]\nclients = 'select'", ("[postgresql]",), ()),
    "switches.name": (SWITCH, SWITCH.replace('"a"', '"b"'), ("[[switch]]",), ()),
    "switches.scope": (SWITCH, f"{SWITCH}scope = 's'", ("[[switch]]",), ()),
    "switches.networks": (SWITCH, SWITCH.replace("0.1", "0.2"), ("[[switch]]",), ()),
    "switches.match_port": (SWITCH, f"{SWITCH}match_port = 'never'", ("[[switch]]",), ()),
    "switches.match_protocol": (SWITCH, f"{SWITCH}match_protocol = 'never'", ("[[switch]]",), ()),
    "switches.secret": (SWITCH, f"{SWITCH}secret = 's'", ("[[switch]]",), ()),
    "switches.token": (f"{SWITCH}token = 's'", f"{SWITCH}token = 't'", ("[[switch]]",), ()),
    "switches.certificate": (CERTIFIED, CERTIFIED.replace("a.ex", "b.ex"), ("[[switch]]",), ()),
    "switches.trusted_network": (SWITCH, f"{SWITCH}trusted_network = true", ("[[switch]]",), ()),
    "switches.radius": (RADIUS, f"{RADIUS}limit_proxy_state = true", ("[[switch]]",), ()),
    "switches.radius.ignore_password": (RADIUS, f"{RADIUS}ignore_password = 's'", ("[[switch]]",), ()),
    "switches.radius.reply": (RADIUS, f"{RADIUS}reply = ['sip_avp', 'cisco']", ("[[switch]]",), ()),
    "switches.radius.map": (RADIUS, f"{RADIUS}map = {{ call_id = ['9/1:x', 44] }}", ("[[switch]]",), ()),
    "switches.radius.require_message_authenticator": (
        RADIUS,
        f"{RADIUS}require_message_authenticator = true",
        ("[[switch]]",),
        (),
    ),
    "tokens.name": (TOKEN, TOKEN.replace('"noc"', '"boc"'), ("[[token]]",), ()),
    "tokens.role": (TOKEN, TOKEN.replace("read", "operator"), ("[[token]]",), ()),
    "tokens.token": (TOKEN, TOKEN.replace("of noc", "of boc"), ("[[token]]",), ()),
}  # fmt: skip


def parsed(text: str) -> Config:
    return from_values(tomllib.loads(text), Path("/etc/identengine/identengine.toml"))


def test_the_table_above_has_every_key() -> None:
    fields = {field.name for field in msgspec.structs.fields(Config)} - {"source", "warnings"}
    assert fields == {*RELOADABLE, *FIXED}
    config = parsed(SWITCH + TOKEN)
    for name in fields:
        value = getattr(config, name)
        section = value[0] if isinstance(value, tuple) else value
        keys = {key.partition(".")[2] for key in KEYS if key.startswith(f"{name}.")}
        keys = {key for key in keys if "." not in key}
        if isinstance(section, msgspec.Struct):
            assert keys == {field.name for field in msgspec.structs.fields(type(section))}, name
        else:
            assert keys, name


@pytest.mark.parametrize("key", KEYS)
def test_each_key(key: str) -> None:
    before, after, changed, fixed = KEYS[key]
    old, new = parsed(before), parsed(after)
    for one, other in ((old, new), (new, old)):
        found = changes(one, other)
        assert (found.changed, found.fixed) == (changed, fixed)
        # The config in use has the new value, or the old one if a restart is needed.
        assert found.config == msgspec.structs.replace(one if fixed else other, warnings=other.warnings)
        assert changes(one, found.config) == found._replace(fixed=())


def test_nothing_changes() -> None:
    config = parsed(SWITCH + TOKEN)
    assert changes(config, parsed(SWITCH + TOKEN)) == (config, (), ())


def test_the_default_of_tls_for_http_depends_on_its_address() -> None:
    """The message then names the changed section, not a key that is absent from the file."""
    away = FILES.replace("127.0.0.1", "192.0.2.1")
    config, changed, fixed = changes(parsed(FILES), parsed(away))
    assert (changed, fixed) == ((), ("[listen]",))
    assert config.listen == parsed(FILES).listen != Listen()
    assert config.http.tls is False


def test_sections_are_named_in_one_order() -> None:
    new = parsed(f"[log]\nlevel = 'debug'\n[identify]\nclasses = ['ip']\n{SWITCH}{TOKEN}")
    assert changes(parsed(""), new).changed == ("[identify]", "[log]", "[[switch]]", "[[token]]")


@pytest.mark.parametrize("text", [text for before, after, *_ in KEYS.values() for text in (before, after)])
def test_a_config_as_bytes(text: str) -> None:
    config = parsed(text)
    assert codec.decode(codec.encode(config)) == config


def test_a_secret_keeps_the_name_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("TOKEN", "caf\udce9")  # an environment can hold any bytes
    config = parsed('[store]\nkey = { env = "KEY" }\n' + SWITCH + 'token = { env = "TOKEN" }')
    monkeypatch.delenv("KEY")
    monkeypatch.delenv("TOKEN")
    there = codec.decode(codec.encode(config))
    assert there == config
    assert there.store.key is not None
    assert there.store.key.variable == "KEY"
    assert there.switches[0].token == Secret("caf\udce9")
    assert "caf" not in repr(there)


def test_the_default_config_as_bytes() -> None:
    config = msgspec.structs.replace(parsed(""), source=None)
    assert codec.decode(codec.encode(config)) == config


def test_other_bytes_are_not_a_config() -> None:
    with pytest.raises(msgspec.MsgspecError):
        codec.decode(b"nonsense")


def test_the_default_folder_of_the_record_stays_next_to_the_store_in_use() -> None:
    old, new = parsed("[store]\npath = '/a/store'"), parsed("[store]\npath = '/b/store'")
    found = changes(old, new)
    assert (found.config.record.path, found.changed, found.fixed) == (old.record.path, (), ("[store]",))
