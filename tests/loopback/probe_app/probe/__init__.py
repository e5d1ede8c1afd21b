"""What a client half may rely on, asked of a running engine."""
