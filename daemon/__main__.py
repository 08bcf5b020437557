"""`python -m daemon`: the command line, also for torchrun."""

import sys

from daemon.cli import main

sys.exit(main())
