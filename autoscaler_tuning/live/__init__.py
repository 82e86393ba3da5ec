"""The controller, and everything else that runs with real pods."""
