"""`python -m loadgen URL`."""

from loadgen.cli import main

raise SystemExit(main())
