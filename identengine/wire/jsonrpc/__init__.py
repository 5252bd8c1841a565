"""JSON-RPC 2.0 in JSON and MessagePack (interfaces.md 3): messages, answers, errors, and who is answered."""
