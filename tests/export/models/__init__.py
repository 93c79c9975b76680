"""Tests of export/models/."""
