"""Which policy to try next."""
