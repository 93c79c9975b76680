"""What `make TARGET` does: make's variables become arguments of programs, and never text of a shell.

The Makefile hands every variable over in the environment; `targets.py` has a function for each
target. This runs before `.venv` exists, and on a board whose Python is 3.6: the standard library only.
"""
