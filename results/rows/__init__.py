"""The table of a run: append-only Parquet."""
