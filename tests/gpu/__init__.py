"""Tests that need a GPU: `make test-gpu`. `make test` runs their like on the host."""
