"""Books that an operator loads and saves: files in, one version in the store out (interfaces.md 1).

Rule: an import makes one version or changes nothing, and names the place of each mistake.
"""
