"""The Makefile and device_scripts/host/commands, on a checkout whose programs are stand-ins."""
