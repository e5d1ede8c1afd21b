"""The cells of unit x placement: what each is, and which settings it refuses."""

__all__: list[str] = []
