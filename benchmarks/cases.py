"""Cases: requests of a workload or of a kind, in an encoding, over a transport, for the server or for an echo."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks import echoes, kinds, messages, served, workload
from benchmarks.echoes import Echo
from benchmarks.messages import Form
from benchmarks.rounds import Contender
from benchmarks.served import Served
from benchmarks.workload import Life
from identengine.store.vault import Vault, default_key_file


class Case(NamedTuple):
    """A case."""

    name: str
    requests: Life | str
    """The lives of the calls of the workload, or the name of a kind (:data:`benchmarks.kinds.KINDS`)."""
    form: Form = "msgpack"
    tcp: bool = False
    pipelined: tuple[int, int] | None = None
    """Number of TCP connections and of requests in flight on each, or None for 64 on a single one."""


class Ground:
    """A store with the accounts of a workload and of all kinds, and the files of their requests."""

    def __init__(self, place: Path, accounts: int, calls: int, of_kind: int, crowd: int) -> None:
        """Make the store in ``place``. ``of_kind`` and ``crowd`` are the numbers of accounts of a kind."""
        self.store = place / "store"
        self.workload = workload.make(accounts, calls)
        book = self.workload.book
        self._kinds = kinds.make(book, Vault.from_file(default_key_file(self.store), create=True), of_kind, crowd)
        whole = book._replace(
            clients=book.clients + self._kinds.clients,
            accounts=book.accounts + self._kinds.accounts,
            dids=book.dids + self._kinds.dids,
        )
        served.store(self.store, whole)
        self._place = place
        self._files: dict[tuple[Life | str, Form], tuple[Path, int]] = {}

    def file(self, case: Case) -> tuple[Path, int]:
        """Return the file of a case's requests, and their number."""
        key = (case.requests, case.form)
        if key not in self._files:
            path = self._place / f"{len(self._files)}.requests"
            if isinstance(case.requests, Life):
                # No account of a small book is full then.
                life = case.requests._replace(held=min(case.requests.held, len(self.workload.book.accounts)))
                count = messages.write(path, case.form, self.workload.calls, life)
            else:
                count = messages.write_messages(path, case.form, self._kinds.messages[case.requests])
            self._files[key] = path, count
        return self._files[key]

    def contender(self, case: Case, server: Served | Echo, name: str, least: int = 1) -> Contender:
        """Return a server as a contender that is asked all requests of a case, and repeatedly up to ``least``."""
        path, count = self.file(case)
        repeated = -(-least // count) * count
        engine = isinstance(server, Served)
        options = messages.options(case.form, count=repeated, echo=not engine, tcp=case.tcp)
        if case.pipelined:
            options = messages.pipelined(options, *case.pipelined)
        if isinstance(server, Served):
            port, answering = (server.tcp if case.tcp else server.udp), server.decider
        else:
            port, answering = server.port, server.pid
        target = f"{'tcp' if case.tcp else 'udp'}:{echoes.HOST}:{port}"
        return Contender(name, server.pid, target, path, options, answering)
