"""Parameter-efficient tuning, and checkpoints without what is frozen."""
