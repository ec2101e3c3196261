"""Matched pretraining: arms, objectives, corruption, order, optimizer, checkpoints, the loop."""
