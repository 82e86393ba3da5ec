"""The live page: what the controller does and why, in a browser."""
