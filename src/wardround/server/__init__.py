"""The server's side: planning, the round loop with its commits, the run folder, and the Flower ServerApp."""

__all__: list[str] = []
