"""Data sets: speech or text with references."""
