"""The policy `elastic`, its rate forecast and its error paths."""
