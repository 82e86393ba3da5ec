"""Kubernetes' Horizontal Pod Autoscaler (HPA), ported from its source."""
