"""The subcommands, one module each: add(parser, env) declares its flags and sets what runs."""
