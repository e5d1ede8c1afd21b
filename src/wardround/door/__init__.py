"""The Python door: everything that the command line does, in a line each, on settings, files or objects.

`wardround` hands its names on when they are first used, as most of them load PyTorch and Flower.
"""

__all__: list[str] = []
