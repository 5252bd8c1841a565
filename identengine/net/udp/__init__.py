"""Datagrams: sockets that are read in batches, and their listener.

Rule: no error of a peer or the network stops the listener. Answers that cannot be sent are counted.
"""
