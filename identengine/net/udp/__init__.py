"""Datagrams: sockets that are drained by the batch, and the listener over them."""
