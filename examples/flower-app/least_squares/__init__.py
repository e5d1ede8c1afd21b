"""Least squares over hospitals, as a Flower app."""
