"""Every command of the README and docs, run as printed there by a newcomer: in a fresh clone and environment."""
