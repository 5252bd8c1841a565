"""Sans-IO codecs and framers: bytes to messages and back; no socket, no clock."""
