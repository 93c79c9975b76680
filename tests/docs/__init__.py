"""Tests of the pages for readers: README.md, CONTRIBUTING.md and docs/."""
