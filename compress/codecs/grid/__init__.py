"""`grid@R`: entropy-coded uniform quantisation with error feedback, plain or with a trellis."""
