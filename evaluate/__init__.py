"""Model + speech → translations → scores. Knows nothing of Ray, Tune or Optuna: a library worth using alone."""
