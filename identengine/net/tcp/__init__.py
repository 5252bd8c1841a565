"""Connections: listeners, flow control, admission, TLS."""
