"""Baselines to hold InfoGAIL against, composed of its own pieces."""
