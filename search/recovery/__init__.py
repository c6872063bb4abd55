"""Recovery as part of a search: what ties the training loops of `compress.recovery` to speech, teachers and runs."""
