"""Baselines for InfoGAIL, built from the same components."""
