"""`python -m knative`: run the command line."""

import os
import sys

from knative.cli import main

raise SystemExit(main(sys.argv[1:], os.environ))
