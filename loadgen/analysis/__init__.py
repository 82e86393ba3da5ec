"""Figures, gates, comparisons and searches over recorded runs; pure functions of their records."""
