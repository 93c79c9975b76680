"""Tests of runtime/engines/; they run on Python 3.6 too."""
