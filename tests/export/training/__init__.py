"""Tests of export/training/."""
