"""A stand-in for a Jetson Nano: its system files, and its commands in bin/."""
