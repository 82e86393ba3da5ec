"""Autoscaling policies; registry.py lists them all."""
