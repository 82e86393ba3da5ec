"""The commands, one module each: its flags and what it does with them."""
