"""The policy `elastic`, and what it predicts with."""
