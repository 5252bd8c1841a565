"""Datagrams: sockets that are drained by the batch, and the listener over them.

Rule: nothing that a peer or the network does ends the listener. An answer that cannot be sent is counted.
"""
