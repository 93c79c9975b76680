"""Packs all that a Jetson needs for a model into one archive, the same bytes every time."""
