"""From a row to what is handed in: the artifact, its check, its provenance, the submission."""
