"""Tests of export/validation/."""
