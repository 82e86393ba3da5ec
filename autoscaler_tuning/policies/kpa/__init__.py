"""Knative's autoscaler (KPA), ported from its source."""
