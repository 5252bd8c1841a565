"""Malformed messages, as the log and the counters see them: by the error that answers them. No I/O.

The error is read back from its encoded answer. So the log never shows more than the peer was answered, and a
secret that no answer quotes is in no line.
"""

from __future__ import annotations

import msgspec

from identengine.engine.lifecycle import Asker
from identengine.wire.jsonrpc.codec import Codec
from identengine.wire.jsonrpc.messages import MALFORMED, Field
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Peer


def malformed(
    answer: bytes, codec: Codec, sender: Peer | Asker | None, host: str | None
) -> MalformedMessage | None:
    """Return the malformed message that an answer reports, or None if its code is not in :data:`MALFORMED`."""
    error = codec.failure(answer).error
    if error is None or error.code not in MALFORMED:
        return None
    data = error.data if isinstance(error.data, Field) else Field()
    value = None if isinstance(data.value, msgspec.UnsetType) else codec.printable(bytes(data.value))
    switch = sender.switch if isinstance(sender, Asker) else sender.name if sender else None
    return MalformedMessage(switch, host, error.code, error.message, data.field, value)
