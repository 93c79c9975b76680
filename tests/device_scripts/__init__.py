"""Tests of device_scripts/."""
