"""What levels with error feedback are calibrated on: statistics of every matrix's inputs and outputs."""
