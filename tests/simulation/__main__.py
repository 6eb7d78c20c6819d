"""`python -m tests.simulation --seeds N` lives through N seeds; `--seed K` replays one."""

import sys

from tests.simulation.runner import main

if __name__ == "__main__":
    sys.exit(main())
