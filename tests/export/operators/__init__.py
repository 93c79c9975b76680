"""Tests of export/operators/."""
