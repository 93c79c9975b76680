"""Tests of runtime/console/; they run on Python 3.6 too."""
