"""A process of many TLS clients that connect at once: each sends a ping, then all disconnect. Run by tests.

Usage: python tlsclients.py PORT COUNT CA [CERTIFICATE]. It prints the number of answers after each round, until
its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


async def _come(port: int, context: ssl.SSLContext) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, ssl_handshake_timeout=40)
    except OSError:
        return False
    try:
        writer.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        return b"result" in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _run(port: int, count: int, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        answered = await asyncio.gather(*[_come(port, context) for _ in range(count)])
        sys.stdout.write(f"{sum(answered)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trusting = ssl.create_default_context(cafile=sys.argv[3])
    if len(sys.argv) > 4:
        trusting.load_cert_chain(sys.argv[4])
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), trusting))
