"""`python -m autoscaler_tuning COMMAND`."""

from autoscaler_tuning.cli import main

raise SystemExit(main())
