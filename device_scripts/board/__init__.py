"""What runs on the board itself; it needs Python 3.6 and what `install.sh` installs."""
