"""Runs a bundle on a Jetson through ssh: copies and installs it, builds, checks, and fetches the
reports."""
