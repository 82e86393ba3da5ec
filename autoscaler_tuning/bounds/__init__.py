"""Lower bounds on pod-seconds for a policy that knows every arrival in advance."""
