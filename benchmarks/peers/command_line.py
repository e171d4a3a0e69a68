"""How the peers are told what to be; runs under every interpreter."""

import re
import sys

__all__ = ["options"]


def options() -> dict[str, str]:
    """Read `--name=value` from the command line."""
    return dict(re.findall(r"--(\w+)=(\S+)", " ".join(sys.argv[1:])))
