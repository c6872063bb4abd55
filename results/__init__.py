"""Candidates → table, front, CSV, report. What people look at, choose from and ship."""
