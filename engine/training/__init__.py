"""Training of networks: settings, training loop, checkpoints, evaluation and batch inference."""
