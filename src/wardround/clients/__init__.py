"""What happens at a hospital: local training with Opacus, evaluation, and the Flower ClientApp around them."""

__all__: list[str] = []
