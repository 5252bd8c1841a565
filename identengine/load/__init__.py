"""Load: asks a server as many switches would, and measures how it answers."""
