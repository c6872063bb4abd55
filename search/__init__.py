"""Decides which policy to try next, and runs the whole: `python -m search.run`."""
