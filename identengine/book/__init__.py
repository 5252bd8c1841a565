"""Books that an operator loads and saves: files in, one version in the store out (interfaces.md 1)."""
