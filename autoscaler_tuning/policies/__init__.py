"""Autoscaling policies: the registry names them all."""
