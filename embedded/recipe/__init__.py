"""The recipe that made the embedded trio: `python -m embedded.recipe`. Nothing else imports it; CI never runs it."""
