"""What server and hospital each compute by themselves from settings and public numbers."""

__all__: list[str] = []
