"""Tests of calibration/validation/."""
