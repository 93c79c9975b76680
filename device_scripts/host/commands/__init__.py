"""What `make TARGET` does: make's variables become arguments, and never text of a shell.

The Makefile hands every variable over in the environment; `targets.py` has a function for each
target. It runs before `.venv` exists, and on a board whose Python is 3.6, which is why it imports
the standard library only.
"""
