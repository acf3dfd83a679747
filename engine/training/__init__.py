"""Training one network on one dataset: what to train, the epochs, and checkpoints of them."""
