"""What is sent when: workloads, synthetic and recorded, and arrival times within each second."""
