"""Tests of runtime/video/; they run on Python 3.6 too."""
