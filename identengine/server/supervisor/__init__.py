"""The process that holds the sockets and keeps the others running."""
