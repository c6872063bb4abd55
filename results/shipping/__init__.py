"""From a row to a submission: the artifact, its verification, its provenance, the declaration."""
