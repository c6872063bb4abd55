"""Data sets: speech or text with references. A new kind is a file here and a branch in open.py."""
