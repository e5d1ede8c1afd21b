"""What an attacker really gets, beside what the bill allows: canaries, membership inference, and lower bounds."""

__all__: list[str] = []
