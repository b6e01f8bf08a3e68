"""Search with Optuna: accuracy against latency on a device."""
