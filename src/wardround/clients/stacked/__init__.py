"""Several hospitals trained in one program: each hospital's arithmetic its own.

`together` says which hospitals can and trains them; `batches` are their Poisson batches as one table, `rows` where
their records lie, `programs` what runs a recorded program for all at once, `sums` the sum of a step, and `steps` what
`clients.steps` does for one hospital. What is left out on purpose: anything that one hospital alone has (the key, what
leaves, what was executed), which is the code that trains it by itself.
"""

__all__: list[str] = []
