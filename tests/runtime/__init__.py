"""Tests of runtime/: of its commands here, of its packages in the folders."""
