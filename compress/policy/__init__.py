"""Policies, what they weigh, and the encoded variants they are made of."""
