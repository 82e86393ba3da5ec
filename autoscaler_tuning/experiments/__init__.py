"""Simulated comparisons of policies, and the statistics behind them."""
