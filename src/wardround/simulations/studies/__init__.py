"""Many runs of one question: placements, noise levels, seeds and baselines."""

__all__: list[str] = []
