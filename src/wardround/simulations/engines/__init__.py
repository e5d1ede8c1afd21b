"""Where simulated hospitals run: in this process, or in Ray workers."""

__all__: list[str] = []
