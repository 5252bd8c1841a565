"""Connections: listeners, flow control, admission, TLS.

Rule: a connection knows its listener only as a :class:`~identengine.net.tcp.connection.ConnectionHost`.
"""
