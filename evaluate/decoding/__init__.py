"""From a model and speech to translations."""
