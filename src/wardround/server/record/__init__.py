"""What is kept of a run: its folder, rounds, ledger rows, summary, and whether they agree."""

__all__: list[str] = []
