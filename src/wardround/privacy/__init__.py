"""What privacy costs and how it is kept: the cells, accounting, the ledger, the account, the budget.

Nothing is imported here: settings ask a cell what it refuses, and that must not bring SciPy or torch along.
"""

__all__: list[str] = []
