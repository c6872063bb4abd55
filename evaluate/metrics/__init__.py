"""From translations to scores. A new corpus metric is a line in mt.py; scores.py puts all metrics together."""
