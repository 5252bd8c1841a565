"""Malformed messages, as the log and the counters see them: by the error that answers them. No I/O.

The error is read back from its encoded answer. So the log never shows more than the peer was answered, and a
secret that no answer quotes is in no line.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from identengine.engine.lifecycle import Asker
from identengine.wire.codes import MALFORMED
from identengine.wire.jsonrpc.codec import Codec
from identengine.wire.jsonrpc.messages import Field
from identengine.wire.responder import MalformedMessage


def reported(
    answer: bytes,
    codec: Codec,
    asker: Asker | None,
    host: str | None,
    report: Callable[[MalformedMessage], None],
) -> bytes:
    """Return an answer. Report the malformed message that it answers, if its code is one of :data:`MALFORMED`."""
    error = codec.failure(answer).error
    if error is not None and error.code in MALFORMED:
        data = error.data if isinstance(error.data, Field) else Field()
        value = None if isinstance(data.value, msgspec.UnsetType) else codec.printable(bytes(data.value))
        switch = None if asker is None else asker.switch
        report(MalformedMessage(switch, host, error.code, error.message, data.field, value))
    return answer
