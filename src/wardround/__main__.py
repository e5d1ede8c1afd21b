"""`python -m wardround`: the same as the command `wardround`."""

from wardround.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
