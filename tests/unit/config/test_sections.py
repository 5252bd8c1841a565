"""The values that each section of the config accepts (interfaces.md 7), and the messages for other values."""

from __future__ import annotations

import pytest
from unit.config.parsing import SWITCH, parsed, problems

from identengine.config.secret import Secret
from identengine.model.addresses import Network
from identengine.model.options import IdentifyOptions

TOKEN = "[[token]]\nname = 'noc'\nrole = 'read'\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[lissten]", 'config lissten: no such key; did you mean "listen"?'),
        (
            "[zzzz]",
            "config zzzz: no such key; the keys are reasons, store, calls, identify, listen, tls, limits,",
        ),
        ("[store]\nfoo = 1", "[store] foo: no such key; the keys are path, key_file, key"),
        ("[reasons.nope]", "[reasons] nope: no such key; the keys are account, invalid_request, unknown_source,"),
        (
            '"a\\nb" = 1',
            'config "a\\nb": no such key; the keys are reasons, store, calls, identify, listen, tls, limits,',
        ),
        (
            "x" * 1000 + " = 1",
            'config "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: no',
        ),
        ("[store]\npaht = 'x'", '[store] paht: no such key; did you mean "path"?'),
        ("store = 5", "[store]: expected a table, got 5"),
        ("[store]\npath = 5", "[store] path: expected a string in quotes, got 5"),
        ("[store]\npath = ' '", '[store] path: expected a string that is not blank, got " "'),
        ("[store]\nkey_file = 'k'\nkey = 'x'", "[store] key: expected either key or key_file, got both"),
        (
            "[store]\nkey = {env = 'NOT_SET_HERE'}",
            "[store] key: the environment variable NOT_SET_HERE is not set. Set it to the secret.",
        ),
        ("[store]\nkey = {environment = 'X'}", '[store] key: expected a string or { env = "NAME" }'),
        ("[store]\nkey = 'abc'", "[store] key: key 1 of store.key: expected a key of 32 bytes in base64"),
        ("[store]\nkey = ' '", "[store] key: store.key holds no key: expected a line with 32 bytes in base64"),
        ("[store]\nkey = {env = 'PATH'}", "[store] key: key 1 of $PATH: expected a key of 32 bytes in base64"),
        (
            "[store]\npath = '~nosuchuser/x'",
            '[store] path: expected ~ before the name of a user with a home folder, got "~nosuchuser/x"',
        ),
        ('[store]\npath = "a\\u0000b"', '[store] path: expected a string without NUL characters, got "a\\u0000b"'),
        ("[store]\npath = 2026-01-01", '[store] path: expected a string in quotes, got "2026-01-01"'),
        ("[store]\nkey = 5", '[store] key: expected a string or { env = "NAME" }'),
        ("[calls]\nmax_legs = 0", "[calls] max_legs: expected an integer from 1 to 1000000000, got 0"),
        (
            "[calls]\non_outage = 'ignore'",
            '[calls] on_outage: expected "local", "reject" or "allow", got "ignore"',
        ),
        (
            "[calls]\nurl = 'http://x'",
            "[calls] url: expected a URL that begins with redis://, rediss:// or unix://",
        ),
        ("[calls]\nurl = 'redis://x'\npath = 'y'", "[calls] url: expected either path or url, got both"),
        ("[calls]\nreserved = -1", "[calls] reserved: expected an integer from 1 to 86400, got -1"),
        (
            "[calls]\nrequire_call_id = 'yes'",
            '[calls] require_call_id: expected true or false without quotes, got "yes"',
        ),
        (
            "[identify]\nclasses = []",
            '[identify] classes: expected at least one of "name", "ip" and "ani", got an empty list',
        ),
        ("[identify]\nclasses = 'ip'", '[identify] classes: expected a list in [ ], got "ip"'),
        ("[identify]\nclasses = ['ip', 'dns']", '[identify] classes: expected "name", "ip" or "ani", got "dns"'),
        ("[identify]\nclasses = ['ip', 'ip']", '[identify] classes: "ip" is in the list twice'),
        ("[identify]\nrank = 'mask'", '[identify] rank: expected "mask_first" or "tech_prefix_first", got "mask"'),
        ("[identify]\nmatch_port = true", '[identify] match_port: expected "always" or "never", got true'),
        ("[identify]\nmatch_protocol = 'no'", '[identify] match_protocol: expected "always" or "never", got "no"'),
        (
            "[identify]\nstrict_ambiguity = 1",
            "[identify] strict_ambiguity: expected true or false without quotes, got 1",
        ),
        (
            "[identify]\nrequire_password = 'true'",
            '[identify] require_password: expected true or false without quotes, got "true"',
        ),
        (
            "[identify]\npasswordless_name = 'no'",
            '[identify] passwordless_name: expected "deny", "after_ip" or "normal", got "no"',
        ),
        (
            "[identify]\npasswordless_name = 'allow'",
            '[identify] passwordless_name: expected "deny", "after_ip" or "normal", got "allow"',
        ),
        (
            "[identify]\ninternational_prefixes = ['+']",
            "[identify] international_prefixes: expected a prefix of a number in normal form, which has no",
        ),
        (
            "[identify]\ninternational_prefixes = ['0é']",
            "[identify] international_prefixes: expected a number in printable ASCII (digits, letters, * and",
        ),
        (
            "[identify]\ninternational_prefixes = [0]",
            "[identify] international_prefixes: expected a string in quotes, got 0",
        ),
        ("[reasons.no_didd]\nq850 = 1", '[reasons] no_didd: no such key; did you mean "no_did"?'),
        ("[reasons.no_did]\nsip = 1", '[reasons.no_did] sip: no such key; did you mean "sip_code"?'),
        (
            "[reasons.no_did]\nsip_code = 200",
            "[reasons.no_did] sip_code: expected an integer from 300 to 699, got 200",
        ),
        ("[reasons.no_did]\nq850 = 128", "[reasons.no_did] q850: expected an integer from 1 to 127, got 128"),
        ("[reasons.no_did]\nh323 = 'x'", '[reasons.no_did] h323: expected an integer from 0 to 255, got "x"'),
        (
            "[reasons.account.x.no_did]\nh323 = 1",
            "[reasons.account.x]: expected the id of an account, an integer above 0 without leading zeros",
        ),
        (
            "[reasons.account.017.no_did]\nh323 = 1",
            "[reasons.account.017]: expected the id of an account, an integer above 0 without leading zeros",
        ),
        (
            f"[reasons.account.{'1' * 5000}.no_did]\nh323 = 1",
            '[reasons.account."11111111111111111111111111111111111111111111111111111111111111111111111111111',
        ),
        (
            "[reasons.account.0.no_did]\nh323 = 1",
            "[reasons.account.0]: expected the id of an account, an integer above 0 without leading zeros",
        ),
        ("[reasons.account.5.nodid]\nh323 = 1", '[reasons.account.5] nodid: no such key; did you mean "no_did"?'),
        (
            "[reasons.account.5.no_did]\nsip_code = 700",
            "[reasons.account.5.no_did] sip_code: expected an integer from 300 to 699, got 700",
        ),
        ("[reasons]\nno_did = 603", "[reasons.no_did]: expected a table, got 603"),
        ("[listen]\nudp = '127.0.0.1:1'", '[listen] udp: expected a list in [ ], got "127.0.0.1:1"'),
        (
            "[listen]\nudp = ['127.0.0.1']",
            '[listen] udp: expected an address with a port (127.0.0.1:4870, [::1]:4870), got "127.0.0.1"',
        ),
        (
            "[listen]\nudp = ['::1:4870']",
            '[listen] udp: expected an address with a port (127.0.0.1:4870, [::1]:4870), got "::1:4870"',
        ),
        (
            "[listen]\nudp = ['[127.0.0.1]:4870']",
            "[listen] udp: expected an address with a port (127.0.0.1:4870, [::1]:4870), got",
        ),
        (
            "[listen]\nudp = ['127.0.0.1:65536']",
            '[listen] udp: expected a port from 1 to 65535, or 0 for any free port, got "127.0.0.1:65536"',
        ),
        (
            "[listen]\nudp = ['127.0.0.1:x']",
            '[listen] udp: expected a port from 1 to 65535, or 0 for any free port, got "127.0.0.1:x"',
        ),
        (
            "[listen]\nudp = ['localhost:4870']",
            '[listen] udp: expected an IPv4 or IPv6 address (10.0.0.1, 2001:db8::1), got "localhost"',
        ),
        (
            "[listen]\nudp = ['127.0.0.01:4870']",
            '[listen] udp: expected an IPv4 address without leading zeros, got "127.0.0.01"',
        ),
        ("[listen]\nudp = ['127.0.0.1:1', '127.0.0.1:1']", '[listen] udp: "127.0.0.1:1" is in the list twice'),
        (
            "[listen]\nudp = []\ntcp = []",
            "[listen] udp: expected an address in at least one of udp, tcp, tls, radius_auth, radius_acct and",
        ),
        (
            "[listen]\nhttp = '127.0.0.1:4870'",
            '[listen] http: "127.0.0.1:4870" is also an address of tcp. Use another port.',
        ),
        (
            "[listen]\nradius_auth = ['127.0.0.1:4870']",
            '[listen] radius_auth: "127.0.0.1:4870" is also an address of udp. Use another port.',
        ),
        ("[listen]\ntls = ['127.0.0.1:4871']", "[listen] tls: expected certificate and key in [tls] too"),
        ("[listen]\nstandby = 'no'", '[listen] standby: expected true or false without quotes, got "no"'),
        ("[tls]\ncert = 'x'", '[tls] cert: no such key; did you mean "certificate"?'),
        (
            "[limits]\nmessage_bytes = 10",
            "[limits] message_bytes: expected an integer from 1024 to 16777215, got 10",
        ),
        (
            f"[limits]\nconnections = 0x{'f' * 5000}",
            "[limits] connections: expected an integer from 1 to 1000000, got an integer of thousands of",
        ),
        ("[limits]\nconnections = 1.5", "[limits] connections: expected an integer from 1 to 1000000, got 1.5"),
        ("[limits]\nidle_seconds = true", "[limits] idle_seconds: expected an integer from 1 to 86400, got true"),
        ("[limits]\nidle = 5", '[limits] idle: no such key; did you mean "idle_seconds"?'),
        ("[log]\nformat = 'xml'", '[log] format: expected "text" or "json", got "xml"'),
        ("[log]\nlevel = 'INFO'", '[log] level: expected "debug", "info", "warning" or "error", got "INFO"'),
        (
            "[postgresql]\nswitches = 'SELECT'",
            "[postgresql] switches: no such key; the keys are clients, accounts, dids",
        ),
        ("[postgresql]\naccounts = 5", "[postgresql] accounts: expected a string in quotes, got 5"),
        ("[switch]\nname = 'a'", "[[switch]]: expected tables with a heading of double brackets, [[switch]]"),
        ("[[switch]]\nname = 'a'", '[[switch]] "a" addresses: this key is required'),
        ("[[switch]]\naddresses = ['127.0.0.1']", "[[switch]] number 1 name: this key is required"),
        (
            '[[switch]]\nname = "a\\nb"\naddresses = ["::1"]',
            '[[switch]] "a\\nb" name: expected printable characters, got "a\\nb"',
        ),
        (SWITCH + SWITCH, '[[switch]] "a" name: 2 tables have this name. Use each name once.'),
        (
            SWITCH + SWITCH.replace('"a"', '"b"'),
            '[[switch]] "b" addresses: 127.0.0.1 is also an address of "a". Give each of the two its own',
        ),
        (SWITCH + "token = ''", '[[switch]] "a" token: expected a string or { env = "NAME" }, got ""'),
        (
            SWITCH + "certificate = 'x'",
            '[[switch]] "a" certificate: expected [listen] tls and [tls] client_ca too',
        ),
        (
            SWITCH + "certificate = '*.example'",
            '[[switch]] "a" certificate: expected the whole name without a wildcard, since it must be one switch, '
            'got "*.example"',
        ),
        (SWITCH + "certificate = 'sbc*.example'", '[[switch]] "a" certificate: expected the whole name without a'),
        (SWITCH + "certificate = '.'", '[[switch]] "a" certificate: expected a name, got "."'),
        (
            SWITCH + "certificate = 'bücher.example'",
            '[[switch]] "a" certificate: expected printable ASCII; a DNS name with other letters has a form',
        ),
        (SWITCH + 'certificate = "a\\tb"', '[[switch]] "a" certificate: expected printable ASCII; a DNS name'),
        (
            "[listen]\ntls = ['127.0.0.1:0']\n[tls]\ncertificate = 'c'\nkey = 'k'\nclient_ca = 'ca'\n"
            + SWITCH
            + "certificate = 'sbc1.example'\n"
            + SWITCH.replace('"a"', '"b"')
            + "certificate = 'SBC1.example.'",
            '[[switch]] "b" addresses: 127.0.0.1 is also an address of "a". Give each of the two its own',
        ),
        ("[tls]\nclient_crl = 'c'", "[tls] client_crl: expected client_ca too, the CA that signed the list"),
        (SWITCH + "certificate = ' '", '[[switch]] "a" certificate: expected a string that is not blank, got " "'),
        (
            SWITCH + "token = 'x'\n" + SWITCH.replace('"a"', '"b"') + "token = 'x'",
            '[[switch]] "b" addresses: 127.0.0.1 is also an address of "a". Give each of the two its own',
        ),
        (
            SWITCH + r'token = "x\n"',
            '[[switch]] "a" token: expected a token without blanks or line ends around it. Remove them here.',
        ),
        (
            SWITCH + "token = ' '",
            '[[switch]] "a" token: expected a token without blanks or line ends around it. Remove them here.',
        ),
        (
            SWITCH + "colour = 'x'",
            '[[switch]] "a" colour: no such key; the keys are name, scope, addresses, match_port,',
        ),
        (SWITCH + "match_port = 'x'", '[[switch]] "a" match_port: expected "always" or "never", got "x"'),
        (SWITCH + "secret = ''", '[[switch]] "a" secret: expected a string or { env = "NAME" }, got ""'),
        (
            SWITCH.replace("127.0.0.1", "10.1"),
            '[[switch]] "a" addresses: expected an IPv4 address of four parts (10.0.0.1), got "10.1"',
        ),
        (
            SWITCH.replace("127.0.0.1", "10.0.0.0/33"),
            '[[switch]] "a" addresses: expected a length from 0 to 32 after the /, without leading zeros,',
        ),
        (
            SWITCH.replace("127.0.0.1", "10.0.0.1:5060"),
            '[[switch]] "a" addresses: expected an address without a port, got "10.0.0.1:5060"',
        ),
        (
            SWITCH.replace('"127.0.0.1"', ""),
            '[[switch]] "a" addresses: expected at least one address or network, got an empty list',
        ),
        (
            SWITCH.replace("127.0.0.1", "192.0.2.1"),
            '[[switch]] "a" addresses: 192.0.2.1 is not loopback, and the source of a datagram can be',
        ),
        (
            SWITCH.replace("127.0.0.1", "0.0.0.0/0"),
            '[[switch]] "a" addresses: 0.0.0.0/0 is not loopback, and the source of a datagram can be',
        ),
        (
            SWITCH.replace("127.0.0.1", "126.0.0.0/7"),
            '[[switch]] "a" addresses: 126.0.0.0/7 is not loopback, and the source of a datagram can be',
        ),
        (
            SWITCH.replace("127.0.0.1", "::/0"),
            '[[switch]] "a" addresses: ::/0 is not loopback, and the source of a datagram can be forged. Set',
        ),
        ("[[token]]\nname = 'noc'\nrole = 'read'", '[[token]] "noc" token: this key is required'),
        (
            "[[token]]\nname = 'noc'\nrole = 'root'\ntoken = 'x'",
            '[[token]] "noc" role: expected "read" or "operator", got "root"',
        ),
        (
            TOKEN + "token = 'x '",
            '[[token]] "noc" token: expected a token without blanks or line ends around it. Remove them here.',
        ),
        (
            TOKEN + "token = 'é'",
            '[[token]] "noc" token: expected printable ASCII, because HTTP sends the token in a header',
        ),
        (
            TOKEN + "token = 'x'\n" + SWITCH + "token = 'x'",
            '[[token]] "noc" token: the same token as that of [[switch]] "a". Use a different one.',
        ),
        (
            TOKEN + "token = 'x'\n" + TOKEN.replace("noc", "noc2") + "token = 'x'",
            '[[token]] "noc2" token: the same token as that of [[token]] "noc". Use a different one.',
        ),
        (
            "[listen]\nhttp = '192.0.2.1:80'",
            '[listen] http: "192.0.2.1:80" is not loopback, so tokens would cross a network in clear. Set',
        ),
        (
            "[listen]\nhttp = '0.0.0.0:80'",
            '[listen] http: "0.0.0.0:80" is not loopback, so tokens would cross a network in clear. Set',
        ),
        (
            "[listen]\nhttp = '[::]:80'\n[http]\ntls = false",
            '[http] tls: false, but "[::]:80" is not loopback, so tokens would cross a network in clear. Use',
        ),
        (
            "[listen]\nhttp = '127.0.0.1:80'\n[http]\ntls = true",
            "[http] tls: expected certificate and key in [tls] too",
        ),
        (
            "[http]\ntrusted_proxies = ['proxy']",
            '[http] trusted_proxies: expected an IPv4 or IPv6 address (10.0.0.1, 2001:db8::1), got "proxy"',
        ),
        ("token = 5", "[[token]]: expected tables with a heading of double brackets, [[token]]"),
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
    keys = ["[store] path", "[listen] udp", "[log] level", "[log] forma", '[[switch]] "a" name', "config nonsense"]
    assert sorted(one.partition(":")[0] for one in found) == sorted(keys)
    assert '"x"' in found[1]
    assert '"127.0.0.1"' in found[1]


def test_switches_at_one_address_need_different_tokens_or_certificates() -> None:
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
        " token: expected a token without blanks or line ends around it. "
        "Remove them from the environment variable THE_TOKEN."
    )


def test_an_empty_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "")
    (problem,) = problems(SWITCH + 'token = { env = "THE_TOKEN" }')
    assert problem.endswith(" token: the environment variable THE_TOKEN is empty. Set it to the secret.")


def test_off_loopback_with_a_token() -> None:
    assert parsed(SWITCH.replace("127.0.0.1", "192.0.2.1") + "token = 'x'").switches[0].token == Secret("x")


def test_off_loopback_with_a_trusted_network() -> None:
    text = SWITCH.replace("127.0.0.1", "192.0.2.0/24") + "trusted_network = true"
    assert parsed(text).switches[0].networks == (Network(bytes([192, 0, 2, 0]), 24),)


def test_a_switch_has_no_part_of_identify() -> None:
    """Otherwise a reload would report all switches as changed if only [identify] changed."""
    switch = '[[switch]]\nname = "a"\naddresses = ["127.0.0.1"]\nmatch_port = "always"\n'
    before, after = parsed(switch), parsed(f'[identify]\nmatch_port = "never"\nmatch_protocol = "never"\n{switch}')
    assert before.switches == after.switches
    assert after.switches[0].options(after.identify) == IdentifyOptions(match_protocol="never")


def test_an_empty_list_of_switches_is_warned_of() -> None:
    assert parsed("switch = []").warnings == ("[[switch]] is an empty list, so every request is rejected",)
