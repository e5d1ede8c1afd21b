"""One round: who is there, what is asked, added up, released, stepped and committed."""

__all__: list[str] = []
