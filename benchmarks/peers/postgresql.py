"""PostgreSQL: the account by one query over networks and tech prefixes, similar to the switch Yeti; no limit.

The extension ``prefix`` finds the tech prefixes. All data is in memory, and nothing is synced. The form of the
query and its index over several columns follow Yeti. An index over the networks alone is faster, and a B-tree is
if exact keys suffice. pgbench asks with prepared statements. Each transaction takes one call of a table by its
number, finds its account, and fails if the table names another one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from math import ceil, floor, log10
from pathlib import Path
from statistics import quantiles
from time import monotonic, perf_counter, sleep
from typing import NamedTuple

from benchmarks import generator, machine
from benchmarks.peers import Case, MissingError, Peer, Served, WrongAnswerError, entries
from benchmarks.peers.asking import CHECKED
from benchmarks.peers.processes import free_port, running, version
from benchmarks.rounds import Taken
from benchmarks.workload import Workload
from identengine.model.records import Account, IdentBy

_CLIENTS = 4
_OWNER = "postgres"
"""The user that the package creates, since PostgreSQL refuses to run as root."""
_PGBENCH = ("-n", "-M", "prepared", "-c", str(_CLIENTS), "-j", "1")
_PATIENCE = 20.0
"""Time limit for the end of the processes of disconnected clients, in seconds."""
_MOST = 40_000
"""Number of requests in a round. PostgreSQL is slow compared with the others."""
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "fsync": "off",
    "autovacuum": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",  # the data is in memory
}
_SCHEMA = """\
CREATE EXTENSION prefix;
CREATE TABLE calls(place int PRIMARY KEY, ip inet, key text NOT NULL, dialled text NOT NULL, account int NOT NULL);
CREATE TABLE several(
    id int PRIMARY KEY, enabled bool NOT NULL DEFAULT true, ip inet NOT NULL, dst_prefix prefix_range NOT NULL,
    src_prefix prefix_range NOT NULL DEFAULT '', capacity int NOT NULL
);
CREATE TABLE exact(key text NOT NULL, dst_prefix prefix_range NOT NULL, id int NOT NULL, capacity int NOT NULL);
"""
_INDEXES = """\
CREATE TABLE alone AS SELECT * FROM several;
CREATE INDEX ON several USING gist (ip inet_ops, dst_prefix, src_prefix);
CREATE INDEX ON alone USING gist (ip inet_ops);
CREATE INDEX ON exact (key);
VACUUM ANALYZE;
"""
_BY_NETWORK = """\
SELECT a.id, a.capacity FROM {table} a
WHERE a.enabled AND a.ip >>= c.ip AND a.dst_prefix @> c.dialled::prefix_range
ORDER BY masklen(a.ip) DESC, length(a.dst_prefix) DESC LIMIT 1"""
_BY_KEY = """\
SELECT a.id, a.capacity FROM {table} a
WHERE a.key = c.key AND a.dst_prefix @> c.dialled::prefix_range
ORDER BY length(a.dst_prefix) DESC LIMIT 1"""
_ASKED = """\
CREATE TABLE {asked} AS SELECT row_number() OVER (ORDER BY place)::int AS number, * FROM calls WHERE {calls};
ALTER TABLE {asked} ADD PRIMARY KEY (number);
VACUUM ANALYZE {asked};
SELECT count(*) FROM {asked};
"""
_WRONG = """\
SELECT c.key, c.dialled, c.account, a.id FROM {asked} c LEFT JOIN LATERAL ({find}) a ON true
WHERE c.number <= {checked} AND a.id IS DISTINCT FROM c.account LIMIT 1"""
_SCRIPT = """\
\\set number random(1, {count})
SELECT a.id, a.capacity, 1 / (a.id = c.account)::int FROM {asked} c, LATERAL ({find}) a WHERE c.number = :number;
"""
"""The query divides by zero if the account is not the call's. Then pgbench fails."""
_DRIVEN = ("driven by pgbench", "each request also reads its call from a table", "does not count calls")


class _Query(NamedTuple):
    """One way to find the account of a call."""

    name: str
    table: str
    text: str
    calls: str
    """SQL condition of the calls that this query can find."""
    caveats: tuple[str, ...]


_QUERIES = (
    _Query(
        "networks, GiST of several columns", "several", _BY_NETWORK, "ip IS NOT NULL", ("addresses only", *_DRIVEN)
    ),
    _Query("networks, GiST", "alone", _BY_NETWORK, "ip IS NOT NULL", ("addresses only", *_DRIVEN)),
    _Query("exact keys, B-tree", "exact", _BY_KEY, "true", ("exact keys only", *_DRIVEN)),
)


class _Database:
    """The programs of PostgreSQL and the address of the server."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self.programs = programs
        self.user = _OWNER if os.geteuid() == 0 else None
        self._env = os.environ | {
            "PGHOST": str(folder),
            "PGPORT": str(port),
            "PGDATABASE": "postgres",
            "PGUSER": _OWNER,
        }

    def run(self, program: str, *words: str, given: str | None = None) -> str:
        """Run a program and return its output. Raise RuntimeError with its error output if it fails."""
        command = [str(self.programs / program), *words]
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            command, env=self._env, user=self.user, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr[-2000:]}")
        return done.stdout

    def sql(self, text: str) -> str:
        """Return the unaligned output of SQL statements."""
        return self.run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", given=text).strip()

    def copy(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Fill columns of a table."""
        lines = ("\t".join(r"\N" if value is None else str(value) for value in row) + "\n" for row in rows)
        self.sql(f"COPY {table} FROM STDIN;\n{''.join(lines)}\\.\n")

    def serves(self) -> bool:
        """Return True if the server answers."""
        try:
            return self.sql("SELECT 1") == "1"
        except RuntimeError:
            return False


@contextlib.contextmanager
def _serve(folder: Path, workload: Workload) -> Iterator[Served]:
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
    if programs is None or not _extension(programs).exists():
        raise MissingError(PEER.packages)
    port = free_port(socket.SOCK_STREAM)
    database = _Database(programs, folder, port)
    if database.user:
        shutil.chown(folder, database.user)
    data = folder / "data"
    database.run("initdb", "-D", str(data), "-A", "trust", "-U", _OWNER, "-E", "UTF8", "--locale=C", "--no-sync")
    settings = _SETTINGS | {"port": str(port), "unix_socket_directories": str(folder)}
    words = [f"--{name}={value}" for name, value in settings.items()]
    # Fast shutdown does not wait for clients.
    with running(
        [programs / "postgres", "-D", data, *words],
        folder / "log",
        database.serves,
        user=database.user,
        ends_by=signal.SIGINT,
    ) as pid:
        _fill(database, workload)
        cases = tuple(_case(query, database, pid, folder) for query in _QUERIES)
        yield Served(version(str(programs / "postgres"), "--version"), pid, cases)


def _extension(programs: Path) -> Path:
    return Path("/usr/share/postgresql") / programs.parent.name / "extension" / "prefix.control"


def _fill(database: _Database, workload: Workload) -> None:
    database.sql(_SCHEMA)
    by_ip = {account.id for account in workload.book.accounts if account.ident_by is IdentBy.IP}
    database.copy(
        "calls",
        (
            (
                place,
                call.key if call.account_id in by_ip else None,
                call.key,
                call.request.dst_number,
                call.account_id,
            )
            for place, call in enumerate(workload.calls)
        ),
    )
    networks = (account for account in workload.book.accounts if account.id in by_ip)
    database.copy("several(id, ip, dst_prefix, capacity)", map(_network, networks))
    known = entries(workload)
    database.copy("exact", ((one.key, one.tech_prefix, one.account_id, one.capacity) for one in known))
    database.sql(_INDEXES)


def _network(account: Account) -> tuple[object, ...]:
    return account.id, account.ident[0], account.tech_prefix or "", account.orig_capacity


def _case(query: _Query, database: _Database, pid: int, folder: Path) -> Case:
    asked = f"asked_{query.table}"
    find = query.text.format(table=query.table)
    count = int(database.sql(_ASKED.format(asked=asked, calls=query.calls)))
    script = folder / f"{query.table}.sql"
    script.write_text(_SCRIPT.format(asked=asked, find=find, count=count))

    def check() -> int:
        wrong = database.sql(_WRONG.format(asked=asked, find=find, checked=CHECKED))
        if wrong:
            raise WrongAnswerError(f"PostgreSQL, {query.name}: key, number, account, found: {wrong}")
        return min(CHECKED, count)

    def take(_retakes: int) -> Taken:  # once: the table reports the load of others
        with tempfile.TemporaryDirectory(dir=folder) as logs:
            if database.user:
                shutil.chown(logs, database.user)
            log = Path(logs) / "took"
            others, before, began = machine.Others([pid]), _spent(pid), perf_counter()
            with machine.on_core(machine.cores()[0]):
                words = (*_PGBENCH, "-t", str(min(count, _MOST) // _CLIENTS), "-f", str(script))
                database.run("pgbench", *words, "-l", "--log-prefix", str(log))
            seconds, spent = perf_counter() - began, _spent(pid) - before
            lines = [line.split() for some in Path(logs).iterdir() for line in some.read_text().splitlines()]
            result = _result(
                [float(line[2]) for line in lines], [float(f"{line[4]}.{line[5]:>06}") for line in lines]
            )
            # The backends that served the queries have ended and are not our children, so they are not counted.
            return Taken(result, spent / len(lines) * 1e6, max(0.0, others.cores() - spent / seconds))

    return Case(f"PostgreSQL, {query.name}, {_CLIENTS} clients", 1, query.caveats, check, take)


def _result(took: list[float], ended: list[float]) -> generator.Result:
    """Return the result of pgbench's log: the time of each transaction in microseconds, and its end in seconds."""
    seconds = max(ended) - (min(ended) - took[ended.index(min(ended))] / 1e6)
    per_mille = quantiles(took, n=1000)
    latency = generator.Percentiles(
        p50=per_mille[499], p90=per_mille[899], p99=per_mille[989], p999=per_mille[998], max=max(took)
    )
    nothing = generator.Percentiles(p50=0, p90=0, p99=0, p999=0, max=0)
    return generator.Result(
        rate=len(took) / seconds,
        seconds=seconds,
        sent=len(took),
        answered=len(took),
        lost=0,
        late=0,
        unexpected=0,
        wrong=0,
        latency=latency,
        lateness=nothing,
        busy=0.0,
        preempted=0,
        histogram=sorted(Counter(map(_coarse, took)).items()),
        first_wrong=[],
    )


def _coarse(value: float) -> float:
    """Return a figure rounded up to two digits, the upper end of its bucket in a histogram."""
    step = 10 ** max(0, floor(log10(max(value, 1))) - 1)
    return float(ceil(value / step) * step)


def _spent(pid: int) -> float:
    """Return the processor seconds of the server's ended processes, to a hundredth.

    Wait for the processes that serve a client. The others use almost none.
    """
    end = monotonic() + _PATIENCE
    while _is_asked(pid):
        if monotonic() > end:
            raise RuntimeError("PostgreSQL still serves a client that disconnected")
        sleep(0.005)
    ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    return sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


def _is_asked(pid: int) -> bool:
    """Return True if this process of the server has a client, which its title shows."""
    try:
        return any(b"[local]" in Path(f"/proc/{one}/cmdline").read_bytes() for one in machine.family(pid))
    except OSError:  # the process has just ended
        return True


PEER = Peer("PostgreSQL", "postgresql-15 postgresql-15-prefix", _serve)
