"""What each section of the config may hold (interfaces.md 7): every mistake named with its key, all at once."""

from __future__ import annotations

import pytest
from unit.config.parsing import SWITCH, parsed, problems

from identengine.config.readers import Secret
from identengine.model.addresses import Network
from identengine.model.options import IdentifyOptions

TOKEN = "[[token]]\nname = 'noc'\nrole = 'read'\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[lissten]", "config lissten: no such key; listen is the nearest name"),
        (
            "[zzzz]",
            "config zzzz: no such key; there are reasons, store, calls, identify, listen, tls, limits, log",
        ),
        ("[store]\nfoo = 1", "[store] foo: no such key; there are path, key_file, key"),
        ("[reasons.nope]", "[reasons] nope: no such key; there are account, "),
        ('"a\\nb" = 1', r"config 'a\nb': no such key"),
        ("x" * 1000 + " = 1", "config 'xxxxxx"),
        ("[store]\npaht = 'x'", "[store] paht: no such key; path is the nearest name"),
        ("store = 5", "[store]: a table is wanted, 5 is none"),
        ("[store]\npath = 5", "[store] path: a text in quotes is wanted, not 5"),
        ("[store]\npath = ' '", "[store] path: a text in quotes is wanted, not ' '"),
        ("[store]\nkey_file = 'k'\nkey = 'x'", "[store] key: stands beside key_file; one of the two is enough"),
        ("[store]\nkey = {env = 'NOT_SET_HERE'}", "[store] key: the environment variable NOT_SET_HERE is not set"),
        ("[store]\nkey = {environment = 'X'}", '[store] key: expected a text or { env = "NAME" }'),
        ("[store]\nkey = 'abc'", "[store] key: key 1 of store.key is no key; wanted are 32 bytes in base64"),
        ("[store]\nkey = ' '", "[store] key: store.key holds no key"),
        ("[store]\nkey = {env = 'PATH'}", "[store] key: key 1 of $PATH is no key"),
        ("[store]\npath = '~nosuchuser/x'", "[store] path: '~nosuchuser/x': ~ stands for the home of a user"),
        ('[store]\npath = "a\\u0000b"', r"[store] path: a text without the character NUL is wanted, not 'a\x00b'"),
        ("[store]\npath = 2026-01-01", "[store] path: a text in quotes is wanted, not 2026-01-01"),
        ("[store]\nkey = 5", '[store] key: expected a text or { env = "NAME" }'),
        ("[calls]\nmax_legs = 0", "[calls] max_legs: an integer from 1 to 1000000000 is wanted, not 0"),
        ("[calls]\non_outage = 'ignore'", "one of 'local', 'reject', 'allow' is wanted, not 'ignore'"),
        ("[calls]\nurl = 'http://x'", "[calls] url: a URL that begins with redis://"),
        ("[calls]\nurl = 'redis://x'\npath = 'y'", "[calls] url: stands beside path"),
        ("[calls]\nreserved = -1", "[calls] reserved: an integer from 1 to"),
        ("[calls]\nrequire_call_id = 'yes'", "[calls] require_call_id: true or false is wanted, without quotes"),
        ("[identify]\nclasses = []", "[identify] classes: at least one of name, ip and ani is wanted"),
        ("[identify]\nclasses = 'ip'", "[identify] classes: a list in [ ] is wanted, not 'ip'"),
        ("[identify]\nclasses = ['ip', 'dns']", "one of 'name', 'ip', 'ani' is wanted, not 'dns'"),
        ("[identify]\nclasses = ['ip', 'ip']", "[identify] classes: 'ip' stands there twice"),
        ("[identify]\nrank = 'mask'", "one of 'mask_first', 'tech_prefix_first' is wanted, not 'mask'"),
        ("[identify]\nmatch_port = true", "[identify] match_port: one of 'always', 'never' is wanted, not true"),
        ("[identify]\nmatch_protocol = 'no'", "[identify] match_protocol: one of"),
        ("[identify]\nstrict_ambiguity = 1", "[identify] strict_ambiguity: true or false is wanted"),
        ("[identify]\nrequire_password = 'true'", "[identify] require_password: true or false is wanted"),
        ("[identify]\npasswordless_name = 'no'", "one of 'deny', 'after_ip', 'normal' is wanted, not 'no'"),
        ("[identify]\npasswordless_name = 'allow'", "[identify] passwordless_name: one of 'deny', 'after_ip'"),
        ("[identify]\ninternational_prefixes = ['+']", "international_prefixes: '+': nothing is left of it"),
        ("[identify]\ninternational_prefixes = ['0é']", "international_prefixes: '0é': a number is"),
        ("[identify]\ninternational_prefixes = [0]", "international_prefixes: a text in quotes is wanted, not 0"),
        ("[reasons.no_didd]\nq850 = 1", "[reasons] no_didd: no such key; no_did is the nearest name"),
        ("[reasons.no_did]\nsip = 1", "[reasons.no_did] sip: no such key; sip_code is the nearest name"),
        ("[reasons.no_did]\nsip_code = 200", "[reasons.no_did] sip_code: an integer from 300 to 699 is wanted"),
        ("[reasons.no_did]\nq850 = 128", "[reasons.no_did] q850: an integer from 1 to 127 is wanted"),
        ("[reasons.no_did]\nh323 = 'x'", "[reasons.no_did] h323: an integer from 0 to 255 is wanted"),
        ("[reasons.account.x.no_did]\nh323 = 1", "[reasons.account.x]: the id of an account is wanted"),
        ("[reasons.account.017.no_did]\nh323 = 1", "[reasons.account.017]: the id of an account is wanted"),
        (f"[reasons.account.{'1' * 5000}.no_did]\nh323 = 1", "11111…]: the id of an account is wanted"),
        ("[reasons.account.0.no_did]\nh323 = 1", "[reasons.account.0]: the id of an account is wanted"),
        ("[reasons.account.5.nodid]\nh323 = 1", "[reasons.account.5] nodid: no such key; no_did is"),
        ("[reasons.account.5.no_did]\nsip_code = 700", "[reasons.account.5.no_did] sip_code: an integer from"),
        ("[reasons]\nno_did = 603", "[reasons.no_did]: a table is wanted, 603 is none"),
        ("[listen]\nudp = '127.0.0.1:1'", "[listen] udp: a list in [ ] is wanted"),
        ("[listen]\nudp = ['127.0.0.1']", "'127.0.0.1': an address with its port is wanted"),
        ("[listen]\nudp = ['::1:4870']", "'::1:4870': an address with its port is wanted"),
        ("[listen]\nudp = ['[127.0.0.1]:4870']", "'[127.0.0.1]:4870': an address with its port is wanted"),
        ("[listen]\nudp = ['127.0.0.1:65536']", "'127.0.0.1:65536': the port is a number from 1 to 65535"),
        ("[listen]\nudp = ['127.0.0.1:x']", "'127.0.0.1:x': the port is a number"),
        ("[listen]\nudp = ['localhost:4870']", "'localhost:4870': an IPv4 or IPv6 address is wanted"),
        ("[listen]\nudp = ['127.0.0.01:4870']", "'127.0.0.01:4870': an IPv4 address has no leading zeros"),
        ("[listen]\nudp = ['127.0.0.1:1', '127.0.0.1:1']", "[listen] udp: '127.0.0.1:1' stands there twice"),
        (
            "[listen]\nudp = []\ntcp = []",
            "[listen] udp: is empty and so are tcp, tls and http: nothing would be served",
        ),
        ("[listen]\nhttp = '127.0.0.1:4870'", "[listen] http: '127.0.0.1:4870' is already taken by tcp"),
        ("[listen]\nradius_auth = ['127.0.0.1:4870']", "radius_auth: '127.0.0.1:4870' is already taken by udp"),
        ("[listen]\ntls = ['127.0.0.1:4871']", "[listen] tls: needs certificate and key under [tls]"),
        ("[listen]\nstandby = 'no'", "[listen] standby: true or false is wanted"),
        ("[tls]\ncert = 'x'", "[tls] cert: no such key"),
        ("[limits]\nmessage_bytes = 10", "[limits] message_bytes: an integer from 1024 to 16777215 is wanted"),
        (f"[limits]\nconnections = 0x{'f' * 5000}", "1000000 is wanted, not an integer of very many digits"),
        ("[limits]\nconnections = 1.5", "[limits] connections: an integer from 1 to 1000000 is wanted, not 1.5"),
        ("[limits]\nidle_seconds = true", "[limits] idle_seconds: an integer from 1 to 86400 is wanted, not true"),
        ("[limits]\nidle = 5", "[limits] idle: no such key; idle_seconds is the nearest name"),
        ("[log]\nformat = 'xml'", "[log] format: one of 'text', 'json' is wanted, not 'xml'"),
        ("[log]\nlevel = 'INFO'", "[log] level: one of 'debug', 'info', 'warning', 'error' is wanted"),
        ("[postgresql]\nswitches = 'SELECT'", "[postgresql] switches: no such key"),
        ("[postgresql]\naccounts = 5", "[postgresql] accounts: a text in quotes is wanted"),
        ("[switch]\nname = 'a'", "[[switch]]: tables under the heading [[switch]] are wanted"),
        ("[[switch]]\nname = 'a'", "[[switch]] 'a' addresses: is wanted for each switch"),
        ("[[switch]]\naddresses = ['127.0.0.1']", "[[switch]] number 1 name: is wanted for each switch"),
        ('[[switch]]\nname = "a\\nb"\naddresses = ["::1"]', r"'a\nb' name: printable characters alone are wanted"),
        (SWITCH + SWITCH, "[[switch]] 'a' name: stands there 2 times; each needs its own"),
        (SWITCH + SWITCH.replace('"a"', '"b"'), "[[switch]] 'b' addresses: 127.0.0.1 is also one of 'a'"),
        (SWITCH + "token = ''", "[[switch]] 'a' token: expected a text or"),
        (SWITCH + "certificate = 'x'", "[[switch]] 'a' certificate: needs [listen] tls and [tls] client_ca"),
        (SWITCH + "certificate = ' '", "[[switch]] 'a' certificate: a text in quotes is wanted"),
        (
            SWITCH + "token = 'x'\n" + SWITCH.replace('"a"', '"b"') + "token = 'x'",
            "where two switches share an address, each needs a token or certificate of its own",
        ),
        (
            SWITCH + r'token = "x\n"',
            "[[switch]] 'a' token: expected a token without blanks or line ends around it; remove them here",
        ),
        (SWITCH + "token = ' '", "[[switch]] 'a' token: expected a token without blanks"),
        (SWITCH + "colour = 'x'", "[[switch]] 'a' colour: no such key"),
        (SWITCH + "match_port = 'x'", "[[switch]] 'a' match_port: one of 'always', 'never' is wanted"),
        (SWITCH + "secret = ''", "[[switch]] 'a' secret: expected a text or"),
        (
            SWITCH + "limit_proxy_state = 1",
            "[[switch]] 'a' limit_proxy_state: one of 'auto', true, false is wanted",
        ),
        (SWITCH.replace("127.0.0.1", "10.1"), "'10.1': an IPv4 address has four parts"),
        (SWITCH.replace("127.0.0.1", "10.0.0.0/33"), "'10.0.0.0/33': the length after / must be"),
        (SWITCH.replace("127.0.0.1", "10.0.0.1:5060"), "'10.0.0.1:5060': an address without port is wanted"),
        (SWITCH.replace('"127.0.0.1"', ""), "[[switch]] 'a' addresses: at least one address or network is wanted"),
        (SWITCH.replace("127.0.0.1", "192.0.2.1"), "'a' addresses: 192.0.2.1 is not loopback"),
        (SWITCH.replace("127.0.0.1", "0.0.0.0/0"), "'a' addresses: 0.0.0.0/0 is not loopback"),
        (SWITCH.replace("127.0.0.1", "126.0.0.0/7"), "'a' addresses: 126.0.0.0/7 is not loopback"),
        (SWITCH.replace("127.0.0.1", "::/0"), "'a' addresses: ::/0 is not loopback"),
        ("[[token]]\nname = 'noc'\nrole = 'read'", "[[token]] 'noc' token: is wanted for each token"),
        ("[[token]]\nname = 'noc'\nrole = 'root'\ntoken = 'x'", "[[token]] 'noc' role: one of 'read', 'operator'"),
        (TOKEN + "token = 'x '", "[[token]] 'noc' token: expected a token without blanks or line ends around it"),
        (TOKEN + "token = 'é'", "[[token]] 'noc' token: expected printable ASCII"),
        (
            TOKEN + "token = 'x'\n" + SWITCH + "token = 'x'",
            "[[token]] 'noc' token: is the same as that of [[switch]] 'a'; each needs its own",
        ),
        (
            TOKEN + "token = 'x'\n" + TOKEN.replace("noc", "noc2") + "token = 'x'",
            "[[token]] 'noc2' token: is the same as that of [[token]] 'noc'",
        ),
        (
            "[listen]\nhttp = '192.0.2.1:80'",
            "[listen] http: '192.0.2.1:80' is not loopback, so that tokens would go",
        ),
        ("[listen]\nhttp = '0.0.0.0:80'", "[listen] http: '0.0.0.0:80' is not loopback"),
        ("[listen]\nhttp = '[::]:80'\n[http]\ntls = false", "[http] tls: is false, and '[::]:80' is not loopback"),
        (
            "[listen]\nhttp = '127.0.0.1:80'\n[http]\ntls = true",
            "[http] tls: needs certificate and key under [tls]",
        ),
        (
            "[http]\ntrusted_proxies = ['proxy']",
            "[http] trusted_proxies: 'proxy': an IPv4 or IPv6 address is wanted",
        ),
        ("token = 5", "[[token]]: tables under the heading [[token]] are wanted"),
    ],
)
def test_one_mistake(text: str, problem: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert problem in found[0]
    assert len(found[0]) < 400
    assert found[0].isprintable()


def test_all_mistakes_at_once() -> None:
    found = problems(
        "[store]\npath = 1\n[listen]\nudp = ['x', '127.0.0.1']\n[log]\nlevel = 'loud'\nforma = 'x'\n[nonsense]\n"
        + SWITCH * 2
    )
    keys = ["[store] path", "[listen] udp", "[log] level", "[log] forma", "[[switch]] 'a' name", "config nonsense"]
    assert sorted(one.partition(":")[0] for one in found) == sorted(keys)
    assert "'x'" in found[1]
    assert "'127.0.0.1'" in found[1]


def test_switches_at_one_address_are_told_apart_by_token_or_certificate() -> None:
    one, two = SWITCH + "token = 'x'\n", SWITCH.replace('"a"', '"b"')
    assert len(parsed(one + two).switches) == 2
    assert len(parsed(one + two + "token = 'y'").switches) == 2


@pytest.mark.parametrize("table", [SWITCH, TOKEN])
@pytest.mark.parametrize("value", ["x\n", " x", "x\r\n", "\tx"])
def test_a_token_from_the_environment_without_blanks_around_it(
    table: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", value)
    (problem,) = problems(table + 'token = { env = "THE_TOKEN" }')
    assert problem.endswith(
        " token: expected a token without blanks or line ends around it; "
        "remove them from the environment variable THE_TOKEN"
    )


def test_an_empty_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "")
    (problem,) = problems(SWITCH + 'token = { env = "THE_TOKEN" }')
    assert problem.endswith(" token: the environment variable THE_TOKEN is empty; set it to the secret")


def test_off_loopback_with_a_token() -> None:
    assert parsed(SWITCH.replace("127.0.0.1", "192.0.2.1") + "token = 'x'").switches[0].token == Secret("x")


def test_off_loopback_with_a_trusted_network() -> None:
    text = SWITCH.replace("127.0.0.1", "192.0.2.0/24") + "trusted_network = true"
    assert parsed(text).switches[0].networks == (Network(bytes([192, 0, 2, 0]), 24),)


def test_a_switch_has_no_part_of_identify() -> None:
    """Else a re-read would say that all switches changed where only [identify] did."""
    switch = '[[switch]]\nname = "a"\naddresses = ["127.0.0.1"]\nmatch_port = "always"\n'
    before, after = parsed(switch), parsed(f'[identify]\nmatch_port = "never"\nmatch_protocol = "never"\n{switch}')
    assert before.switches == after.switches
    assert after.switches[0].options(after.identify) == IdentifyOptions(match_protocol="never")


def test_an_empty_list_of_switches_is_warned_of() -> None:
    assert parsed("switch = []").warnings == ("[[switch]] is an empty list: nobody may ask",)
