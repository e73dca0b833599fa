"""Stable Diffusion as a feature extractor: its files, weights, text tower and forward pass."""
