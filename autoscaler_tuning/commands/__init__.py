"""The commands, one module each; its add(parser, env) adds the flags and sets the function to run."""
