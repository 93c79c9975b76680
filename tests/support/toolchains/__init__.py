"""Compilers, interpreters and packages of other machines."""
