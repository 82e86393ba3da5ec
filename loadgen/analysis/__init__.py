"""Figures, SLO gates, comparisons and searches, as pure functions of the records of runs."""
