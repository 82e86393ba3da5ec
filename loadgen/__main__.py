"""Entry point of `python -m loadgen URL`."""

from loadgen.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
