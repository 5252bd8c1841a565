"""Keeps one connection to a server: makes it, makes it again when it is lost, and bounds what is in flight."""

from __future__ import annotations

import asyncio
import random
import ssl

from identengine.client.errors import AskError, ClientError, LateError, LostError, UnansweredError
from identengine.client.exchange import Encoding, Exchange
from identengine.client.params import Params
from identengine.client.stream import Link
from identengine.errors import WireError
from identengine.wire.jsonrpc.methods import Result

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before a lost connection is made again: the first time, and at most, doubling. By chance up to half
less, so that many clients do not come back at once."""
PARTING = 1.0
"""Seconds that a connection has for its own end."""
UNREACHABLE = (OSError, ValueError, OverflowError)
"""What dialling can end with. TimeoutError and ssl.SSLError are OSErrors; a host that can be none is a ValueError
(UnicodeError), a port that can be none an OverflowError."""
HOPELESS = (ssl.SSLError, ValueError, OverflowError)
"""Those of them that stay as they are, however often it is tried."""


class Connection:
    """One connection over TCP or TLS, pipelined."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        token: str | None,
        encoding: Encoding,
        in_flight: int,
        patience: float,
    ) -> None:
        """As :class:`identengine.client.Client` says; ``patience`` is its time-out."""
        self.where = f"{host}:{port}"
        self._address = (host, port)
        self._tls = tls
        self._token = token
        self._encoding = encoding
        self._in_flight = in_flight
        self._patience = patience
        self._places = asyncio.Semaphore(in_flight)
        self._link: asyncio.Future[Link] | None = None
        """The connection; not done while there is none. None: it was never wanted."""
        self._keeper: asyncio.Task[None] | None = None
        self._trouble = ""
        """Why there is no connection."""

    async def ask(self, method: str, params: Params, seconds: float) -> Result:
        """Return the answer. Raises AskError, WireError, and an UnansweredError after ``seconds``."""
        link: Link | None = None
        asked = 0.0
        stage = f"{self._in_flight} other requests wait for their answers"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds), self._places:
                stage = ""
                while True:
                    link = await self._linked()
                    asked = loop.time()
                    try:
                        return await link.ask(method, params)
                    except LostError as lost:
                        if lost.sent:
                            raise
        except TimeoutError:
            if link is None:
                why = stage or self._trouble or f"there is no connection to {self.where}"
                raise LateError(f"{self._slow(method, seconds)}: {why}", sent=False) from None
            if link.heard < asked and loop.time() - asked >= self._patience:
                # Nothing at all came meanwhile: the other side is gone without a word, or stands still.
                link.abort(f"no answer within {seconds:g} s")
            raise LateError(f"{self._slow(method, seconds)}", sent=True) from None

    async def close(self) -> None:
        """End the connection; what still waits on it fails."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.cancel()
        await asyncio.wait([keeper])
        await asyncio.sleep(0)  # an attempt that was under way is closed in the loop's next turn
        link = self._link.result() if self._link and self._link.done() and not self._link.exception() else None
        if link is not None:
            link.close()
            await asyncio.wait([link.ended], timeout=PARTING)
            if not link.ended.done():
                link.abort("closed")
                await link.ended

    async def _linked(self) -> Link:
        """Return the connection, as soon as there is one.

        Raises AskError where the server refuses the token, LostError where it is not trusted, or we are not.
        """
        if self._keeper is None:
            self._link = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(), name=f"identengine client of {self.where}")
        while True:
            waited = self._link
            assert waited is not None  # noqa: S101 - it was made with the keeper
            link = await asyncio.shield(waited)
            if not link.ended.done():
                return link
            await asyncio.sleep(0)  # the keeper has yet to see its end

    async def _keep(self) -> None:
        """Connect, wait for the end, connect again."""
        pause = FIRST_PAUSE
        while True:
            waited = self._link
            assert waited is not None  # noqa: S101 - it was made with the keeper
            try:
                link = await self._connect()
            except (ClientError, WireError) as error:
                self._trouble = str(error)
                if not isinstance(error, UnansweredError) or isinstance(error.__cause__, HOPELESS):
                    # The server will not have us, or we not it, or there is no such: whoever waits is told.
                    self._link = asyncio.get_running_loop().create_future()
                    waited.set_exception(error)
                    waited.exception()  # nobody may be waiting, and that is no fault
            else:
                waited.set_result(link)
                begun = asyncio.get_running_loop().time()
                await asyncio.shield(link.ended)  # close() waits for it too, after it has cancelled this
                self._link = asyncio.get_running_loop().create_future()
                self._trouble = link.why
                if asyncio.get_running_loop().time() - begun > LONGEST_PAUSE:  # it was a good one
                    pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _connect(self) -> Link:
        loop = asyncio.get_running_loop()
        link: Link | None = None
        try:
            async with asyncio.timeout(self._patience):
                _, link = await loop.create_connection(
                    lambda: Link(Exchange(self._encoding), self.where), *self._address, ssl=self._tls
                )
                if self._token is not None:
                    await link.authenticate(self._token)
        except BaseException as error:
            if link is not None:
                link.abort("not let in")
            if isinstance(error, AskError):
                raise AskError(error.code, f"{self.where} does not let us in: {error.message}") from None
            if isinstance(error, UNREACHABLE):
                why = str(error) or f"it took more than {self._patience:g} s"
                raise LostError(f"no connection to {self.where}: {why}", sent=False) from error
            raise
        return link

    @staticmethod
    def _slow(method: str, seconds: float) -> str:
        return f"no answer to {method} within {seconds:g} s"
