"""An hour of mixed load with faults: nothing of a process grows."""
