"""Workloads, synthetic and recorded, and the arrival times within each second."""
