"""Random cases of every operator, and what they have to give."""
