"""Artifacts: folders that hold a compressed model."""
