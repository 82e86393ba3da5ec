"""Checks of the simulator and the ported autoscalers against recordings of the real ones."""
