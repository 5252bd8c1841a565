"""The config of the server (interfaces.md 7): its shape, how it is read, and what each value may be."""
