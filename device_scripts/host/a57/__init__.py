"""`make bench-a57`: what code costs on a Cortex-A57, counted on machines that have none."""
