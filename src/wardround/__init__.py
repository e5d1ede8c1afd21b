"""Federated learning across hospitals under differential privacy, with an account of every epsilon."""
