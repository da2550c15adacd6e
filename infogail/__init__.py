"""Style-conditioned drivers: imitation of unlabelled demonstrations whose style is a knob, the latent code."""
