"""The way in for a network: its name or source, its arguments, its spec, and its weights."""
