"""Ray Tune and Optuna: the only place that imports them."""
