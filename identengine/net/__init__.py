"""Sockets and flow control, nothing else."""
