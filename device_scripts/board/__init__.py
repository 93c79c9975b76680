"""What runs on the board itself: Python 3.6, and what `install.sh` brings."""
