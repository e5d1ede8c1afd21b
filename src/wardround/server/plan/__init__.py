"""Who does what in which round, with how much noise: settled before any training."""

__all__: list[str] = []
