"""Kamailio 5: the account by ``mtree``, of address and tech prefix as one string; a limit of calls by ``htable``.

This is its fastest set-up that knows tech prefixes. A tree finds the longest one in one walk. It runs one child
with the memory manager ``fm``; with Debian's default, ``qm``, it is three times slower. A call from an unknown
address is looked up by the user of From, name or number, in a hash table; these have no tech prefixes in the
workload. One request takes and frees the slot. A second request for the end of the call would cost Kamailio more.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from socket import SOCK_DGRAM

from benchmarks.generator import Options
from benchmarks.peers import Entry, MissingError, Peer, Served, entries
from benchmarks.peers.asking import Ask, by_datagrams, datagram
from benchmarks.peers.processes import find, free_port, running, version
from benchmarks.workload import Call, Workload

_SCHEMA = """\
PRAGMA synchronous = OFF;
CREATE TABLE version(table_name VARCHAR(32) NOT NULL, table_version INTEGER NOT NULL);
INSERT INTO version VALUES ('addresses', 1), ('users', 2);
CREATE TABLE addresses(id INTEGER PRIMARY KEY, tprefix VARCHAR(64) NOT NULL, tvalue VARCHAR(128) NOT NULL);
CREATE TABLE users(
    id INTEGER PRIMARY KEY, key_name VARCHAR(64) NOT NULL, key_type INTEGER NOT NULL DEFAULT 0,
    value_type INTEGER NOT NULL DEFAULT 0, key_value VARCHAR(128) NOT NULL, expires INTEGER NOT NULL DEFAULT 0
);
"""
_CONFIG = """\
#!KAMAILIO
debug=-1
log_stderror=yes
children=1
auto_aliases=no
disable_tcp=yes
server_signature=no
listen=udp:127.0.0.1:{port}
mpath="{modules}"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "db_sqlite.so"
loadmodule "mtree.so"
loadmodule "htable.so"
modparam("mtree", "db_url", "sqlite:///{database}")
modparam("mtree", "mtree", "name=addresses;dbtable=addresses;type=0")
modparam("mtree", "char_list", "0123456789.#")
modparam("mtree", "pv_value", "$var(v)")
modparam("mtree", "fetch_rows", 10000)
modparam("htable", "db_url", "sqlite:///{database}")
modparam("htable", "fetch_rows", 10000)
modparam("htable", "htable", "users=>size=16;autoexpire=0;dbtable=users")
modparam("htable", "htable", "live=>size=16;autoexpire=0;initval=0")
request_route {{
    $var(k) = $si + "{between}" + $rU;
    if (!mt_match("addresses", "$var(k)", "0")) {{
        $vn(v) = $sht(users=>$fU);
        if ($vn(v) == $null) {{
            sl_send_reply("403", "Forbidden");
            exit;
        }}
        $var(v) = $vn(v);
    }}
    $var(a) = $(var(v){{s.select,0,,}});
    $var(l) = $(var(v){{s.select,1,,}}{{s.int}});
    $var(c) = $shtinc(live=>$var(a));
    if ($var(c) > $var(l)) {{
        $var(c) = $shtdec(live=>$var(a));
        sl_send_reply("486", "Limit");
        exit;
    }}
    $var(c) = $shtdec(live=>$var(a));
    append_to_reply("X-Account: $var(a);\\r\\n");
    sl_send_reply("200", "OK");
}}
"""
_BETWEEN = "."
"""Separator between an address and the number dialled from it."""
_BRANCH = "z9hG4bK-"
_MESSAGE = """\
OPTIONS sip:{dialled}@127.0.0.1:{port} SIP/2.0
Via: SIP/2.0/UDP {source}:5060;rport;branch={branch}00000000
Max-Forwards: 70
From: <sip:{user}@{source}>;tag=t{place}
To: <sip:{dialled}@127.0.0.1>
Call-ID: {call_id}
CSeq: 1 OPTIONS
Contact: <sip:{user}@{source}:5060>
User-Agent: benchmark
Content-Length: 0

"""
_OPTIONS = Options(count=1, marker=_BRANCH)
_CAVEATS = ("exact keys only", "slot taken and given back in one request", "SIP OPTIONS")


@contextlib.contextmanager
def _serve(folder: Path, workload: Workload) -> Iterator[Served]:
    program = find("kamailio")
    modules = next(Path("/usr/lib").glob("*/kamailio/modules"), None)
    if program is None or modules is None or not all((modules / f"{name}.so").exists() for name in _MODULES):
        raise MissingError(PEER.packages)
    port = free_port(SOCK_DGRAM)
    known = entries(workload)
    _store(folder / "book.db", known)
    config = folder / "kamailio.cfg"
    config.write_text(_CONFIG.format(port=port, modules=modules, database=folder / "book.db", between=_BETWEEN))
    asks = [_ask(call, place, port) for place, call in enumerate(workload.calls)]
    room = str(128 + len(known) // 200)  # MiB; an account takes about 2 KiB
    memory = ("-x", "fm", "-m", room, "-M", room)
    command: list[str | Path] = [program, "-DD", "-E", "-f", config, *memory, "-Y", folder, "-w", folder]
    with running(command, folder / "log", lambda: bool(datagram(asks[0], port, _OPTIONS))) as pid:
        case = by_datagrams(
            "Kamailio mtree with call limit", pid, port, _OPTIONS, folder, asks, account=_account, caveats=_CAVEATS
        )
        yield Served(version(program, "-v"), pid, (case,))


def _store(path: Path, known: Iterable[Entry]) -> None:
    """Write the tables that Kamailio reads when it starts."""
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.executescript(_SCHEMA)
        for entry in known:
            value = f"{entry.account_id},{entry.capacity}"
            if entry.key.count(".") == 3:
                row = (f"{entry.key}{_BETWEEN}{entry.tech_prefix}", value)
                opened.execute("INSERT INTO addresses(tprefix, tvalue) VALUES (?, ?)", row)
            elif entry.tech_prefix:
                raise ValueError(f"{entry.key}: a hash table cannot find an account with a tech prefix")
            else:
                opened.execute("INSERT INTO users(key_name, key_value) VALUES (?, ?)", (entry.key, value))
        opened.commit()


def _ask(call: Call, place: int, port: int) -> Ask:
    """Return an OPTIONS request from the address of the call, with its name or number as the user of From."""
    request = call.request
    source = request.src_ip or ""
    text = _MESSAGE.format(
        dialled=request.dst_number,
        port=port,
        source=source,
        branch=_BRANCH,
        user=request.name or request.src_number,
        place=place,
        call_id=request.call_id,
    )
    payload = text.replace("\n", "\r\n").encode()
    return Ask(payload, call.account_id, b"X-Account: %d;" % call.account_id, lane=place, source=source)


def _account(answer: bytes) -> int | None:
    """Return the account that a 200 response names."""
    found = re.match(rb"SIP/2\.0 200 .*\r\nX-Account: (\d+);\r\n", answer, re.DOTALL)
    return int(found[1]) if found else None


_MODULES = ("db_sqlite", "mtree", "htable")
PEER = Peer("Kamailio", "kamailio kamailio-sqlite-modules", _serve)
