"""The ranges that clips and noise are held to, wherever they come from: settings, plans, assignments."""

__all__ = ["FLOAT32_SLACK", "LARGEST_CLIP", "LARGEST_NOISE", "SMALLEST_CLIP"]

LARGEST_CLIP = 1e6
"""Of max-grad-norm."""
SMALLEST_CLIP = 1e-30
"""Of max-grad-norm. What is clipped is float32, whose steps near zero, 2^-149, can take 2^40 coordinates sqrt(2^40)
2^-150 past the clip: 1e-9 of the smallest one."""
LARGEST_NOISE = 1e7
"""Noise multiplier up to which one is looked for, and which a hospital accepts."""
FLOAT32_SLACK = 1 + 2.0**-16
"""What is held to a bound is held to so much more of it, for the rounding to float32 on the way."""
