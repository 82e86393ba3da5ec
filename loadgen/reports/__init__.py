"""Reports of a run for people and for other tools; each module is one format and computes it from the run."""
