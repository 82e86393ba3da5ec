"""Simulated comparisons of policies, and the statistics of their results."""
