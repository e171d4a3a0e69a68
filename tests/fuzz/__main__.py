"""`python -m tests.fuzz NAME`: one target under atheris, until it is stopped; what libFuzzer knows follows `--`.

Without a name the targets are listed. What fails is written by libFuzzer into the current folder as `crash-…`: put it
into `tests/fuzz/corpus/NAME`, and it is tried by every run of the tests from then on.
"""

from __future__ import annotations

import importlib
import sys
import tempfile


def main(arguments: list[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris")
        return 2
    # What is imported from here on counts its branches: ours, and not what it is built on.
    with atheris.instrument_imports(include=["protocol", "kailash"]):
        targets = importlib.import_module("tests.fuzz.targets")
    if not arguments or arguments[0] not in targets.TARGETS:
        print("targets:", *targets.TARGETS)
        return 2
    name, *more = arguments
    # What it finds to be of interest is written into the first folder: not into ours, where each file has its reason.
    found = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    options = [each for each in more if each != "--"]
    atheris.Setup([sys.argv[0], *options, found, str(targets.CORPUS / name)], targets.TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
