"""Where this package lies."""

import os

# The folder that holds the package `runtime`: a checkout, or what was unpacked of a bundle.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
