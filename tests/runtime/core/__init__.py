"""Tests of runtime/core/; they run on Python 3.6 too."""
