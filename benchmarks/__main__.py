"""`python -m benchmarks`: ours, its peers and the floor, side by side; `--help` tells the rest."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
