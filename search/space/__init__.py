"""The space of policies and what bounds it."""
