"""Gradients of records in closed form: of layers that are known, for one hospital or for several at once.

`by_record` is what gradients by one layer are, `parts` and `convolutions` are the layers, `layers` models that consist
of them, and `alone` such a model for the records of one hospital. What is left out on purpose: clips and sums (see
`clients.gradients` and `clients.stacked.sums`).
"""

__all__: list[str] = []
