"""The values of a config without mistakes (interfaces.md 7), and its warnings."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.config.parsing import KEY, parsed, problems

from identengine.config.changes import changes
from identengine.config.load import load
from identengine.config.readers import Endpoint
from identengine.config.secret import Secret
from identengine.errors import ConfigError
from identengine.model.addresses import Network, parse_network
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Codes, Reason


def test_the_default_config_lists_loopback_only() -> None:
    config = load(None)
    assert config.listen.udp == config.listen.tcp == (Endpoint("127.0.0.1", 4870),)
    assert config.listen.tls == config.listen.radius_auth == ()
    (switch,) = config.switches
    assert switch.name == switch.scope == "local"
    assert switch.networks == (parse_network("127.0.0.0/8")[0], parse_network("::1")[0])
    assert switch.options(config.identify) == config.identify == IdentifyOptions()
    assert config.warnings == ()
    assert config.store.path == Path("/var/lib/identengine")
    assert config.limits.message_bytes == 65536


def test_an_empty_file_is_the_default_config(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("")
    loaded, default = load(file), load(None)
    assert (loaded.listen, loaded.switches, loaded.identify) == (
        default.listen,
        default.switches,
        default.identify,
    )
    assert loaded.source == file


SPEC = """
[store]
path = "/var/lib/identengine"
key = { env = "IDENTENGINE_KEY" }
[calls]
path = "/run/identengine"
on_outage = "local"
max_legs = 100000
lapsed_max = 1000000
reserved = 200
active = 7200
grace = 60
cps_burst = 0.5
global_capacity = 100000
require_call_id = false
[identify]
classes = ["name", "ip", "ani"]
rank = "mask_first"
match_port = "always"
match_protocol = "always"
strict_ambiguity = false
require_password = false
passwordless_name = "deny"
international_prefixes = []
[reasons.src_not_allowed]
sip_code = 603
q850 = 21
h323 = 7
[reasons.account.17.src_not_allowed]
sip_code = 604
[listen]
udp = ["127.0.0.1:4870"]
tcp = ["127.0.0.1:4870"]
tls = ["127.0.0.1:4871"]
radius_auth = ["127.0.0.1:1812"]
radius_acct = ["127.0.0.1:1813"]
http = "127.0.0.1:8470"
standby = false
[tls]
certificate = "server.pem"
key = "server.key"
client_ca = "ca.pem"
[limits]
message_bytes = 65536
connections = 1000
connections_per_switch = 200
idle_seconds = 300
unread_bytes = 1048576
datagram_age_ms = 400
[log]
format = "json"
level = "info"
[postgresql]
accounts = "SELECT 1"
[[switch]]
name = "sbc1"
scope = "site-a"
addresses = ["127.0.0.0/8", "::1"]
secret = { env = "SBC1_SECRET" }
token = { env = "SBC1_TOKEN" }
certificate = "SBC1.example"
trusted_network = false
match_port = "never"
[switch.radius]
ignore_password = "cisco"
[[token]]
name = "noc"
role = "read"
token = { env = "NOC_TOKEN" }
"""


def test_http_off_loopback_is_tls_or_behind_a_proxy() -> None:
    files = "[tls]\ncertificate = 'c'\nkey = 'k'\n"
    away, here = "[listen]\nhttp = '192.0.2.1:80'\n", "[listen]\nhttp = '[::1]:80'\n"
    proxy = "[http]\ntrusted_proxies = ['192.0.2.9', '10.0.0.0/8']\n"
    assert parsed(away + files).http.tls
    assert not parsed(away + proxy).http.tls
    assert not parsed(away + files + proxy).http.tls
    assert parsed(away + files + proxy + "tls = true").http.tls
    assert not parsed(here + files).http.tls
    assert parsed(here + files + "[http]\ntls = true").http.tls
    assert parsed(proxy).http.trusted_proxies == (
        Network(bytes((192, 0, 2, 9)), 32),
        Network(bytes((10, 0, 0, 0)), 8),
    )
    (warning,) = parsed(here).warnings
    assert warning.startswith(
        "[listen] http: no [[switch]] has a token, so HTTP rejects every request for a decision."
    )


def test_tls_of_http_does_not_change_while_a_server_runs(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[listen]\nhttp = '127.0.0.1:80'\n[tls]\ncertificate = 'c'\nkey = 'k'\n")
    old = load(file)
    file.write_text(file.read_text() + "[http]\ntls = true\ntrusted_proxies = ['10.0.0.1']\n")
    new, changed, fixed = changes(old, load(file))
    assert (new.http.tls, changed, fixed) == (False, ("[http]",), ("[http] tls",))
    assert new.http.trusted_proxies, "the others do"


def test_the_whole_schema_of_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTENGINE_KEY", KEY)
    for name in ("SBC1_SECRET", "SBC1_TOKEN", "NOC_TOKEN"):
        monkeypatch.setenv(name, f"value of {name}")
    config = parsed(SPEC)
    assert config.store.key == Secret(KEY)
    assert config.tls.certificate == Path("/etc/identengine/server.pem")
    assert config.calls.global_capacity == 100_000
    assert config.calls.cps_burst == 0.5
    assert config.switches[0].options(config.identify) == IdentifyOptions(match_port="never")
    assert config.switches[0].secret == Secret("value of SBC1_SECRET")
    assert config.switches[0].token == Secret("value of SBC1_TOKEN")
    assert config.switches[0].certificate == "sbc1.example"
    assert config.tokens[0].role == "read"
    assert config.log.format == "json"
    warned = "\n".join(config.warnings)
    assert "[postgresql] accounts: not served by this version yet" in warned
    assert warned.count("not served") == 2, "the other is [calls] on_outage"
    for key in ("standby", "require_call_id", "trusted_network", "scope"):
        assert key not in warned
    assert "[calls] on_outage" in "".join(parsed("[calls]\non_outage = 'local'").warnings)


def test_names_of_switches_fit_the_keys_of_the_mirror() -> None:
    longest = "é" * 100
    switch = '[[switch]]\nname = "{}"\naddresses = ["127.0.0.1"]'
    assert parsed(switch.format(longest)).switches[0].name == longest
    with pytest.raises(ConfigError, match="at most 100 characters"):
        parsed(switch.format(longest + "é"))


def test_codes_that_are_not_set_are_the_standard_ones() -> None:
    config = parsed(
        "[reasons.no_did]\nsip_code = 604\n"
        "[reasons.account.17.no_did]\nq850 = 1\n[reasons.account.17.overload]\nh323 = 9"
    )
    assert config.reasons.codes(Reason.NO_DID) == Codes(604, 21, 7)
    assert config.reasons.codes(Reason.NO_DID, 17) == Codes(604, 1, 7)
    assert config.reasons.codes(Reason.OVERLOAD, 17) == Codes(503, 42, 9)
    assert config.reasons.codes(Reason.OVERLOAD, 18) == Codes(503, 42, 8)
    assert config.reasons.codes(Reason.BAD_PASSWORD) == Codes(403, 57, 2)


def test_international_prefixes_in_normal_form_longest_first() -> None:
    config = parsed('[identify]\ninternational_prefixes = ["00", "0 11", "+9-00"]')
    assert config.identify.international_prefixes == ("011", "900", "00")


def test_values_in_normal_form() -> None:
    config = parsed(
        '[listen]\nudp = ["[0:0::1]:0", "127.0.0.1:4870"]\ntcp = []\n'
        '[[switch]]\nname = " a "\naddresses = ["10.0.0.7/24"]\ntrusted_network = true'
    )
    assert config.listen.udp == (Endpoint("::1", 0), Endpoint("127.0.0.1", 4870))
    assert [str(endpoint) for endpoint in config.listen.udp] == ["[::1]:0", "127.0.0.1:4870"]
    assert config.switches[0].name == "a"
    assert config.switches[0].networks == (Network(bytes([10, 0, 0, 0]), 24),)


def test_a_udp_listener_may_be_on_every_address() -> None:
    found = parsed('[listen]\nudp = ["0.0.0.0:1", "[0::]:2"]')
    assert [str(one) for one in found.listen.udp] == ["0.0.0.0:1", "[::]:2"]
    assert found.warnings == ()


def test_a_list_of_very_many_addresses_takes_no_time_and_no_screen() -> None:
    many = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000)]
    config = parsed(f'[[switch]]\nname = "a"\ntrusted_network = true\naddresses = {many}')
    assert len(config.switches[0].networks) == len(many)
    (found,) = problems(f'[[switch]]\nname = "a"\naddresses = {["x"] * 1000}')
    assert found.endswith("; and 980 more")


@pytest.mark.parametrize("value", ["-0.1", "3600.5", "nan", "inf", "true", '"1"', "[1]"])
def test_the_seconds_of_a_burst_are_a_number_in_bounds(value: str) -> None:
    (found,) = problems(f"[calls]\ncps_burst = {value}")
    assert found.startswith("[calls] cps_burst: expected a number from 0 to 3600, got ")


@pytest.mark.parametrize(("value", "read"), [("0", 0.0), ("3600", 3600.0), ("0.25", 0.25), ("1e2", 100.0)])
def test_the_seconds_of_a_burst(value: str, read: float) -> None:
    assert parsed(f"[calls]\ncps_burst = {value}").calls.cps_burst == read
