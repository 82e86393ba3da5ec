"""Where accepted asynchronous work is kept until it has a result."""
