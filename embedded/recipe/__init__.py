"""The recipe that made the embedded model, speech and COMET: `python -m embedded.recipe`. CI never runs it."""
