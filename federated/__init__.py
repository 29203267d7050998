"""Federated rounds with user-level differential privacy, over Flower: clip, sum, charge, noise once, then optimize."""
