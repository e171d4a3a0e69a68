"""Make `suite.json.xz` anew: the official JSON-Schema-Test-Suite, as the sources of the package `jsonschema` hold it.

    python -m pip download --no-deps --no-binary jsonschema jsonschema==4.26.0
    python tests/unit/schema/pack_suite.py jsonschema-4.26.0.tar.gz

The suite is Copyright (c) 2012 Julian Berman, under the MIT licence.
"""

import json
import lzma
import sys
import tarfile
from pathlib import Path

DIALECTS = ("draft4", "draft6", "draft7", "draft2019-09", "draft2020-12")
PARTS = ("", "optional/", "optional/format/")


def pack(archive: Path) -> dict[str, list[object]]:
    """Return the tests of each file by `dialect/part/name`: groups of (description, schema, tests)."""
    packed: dict[str, list[object]] = {}
    with tarfile.open(archive) as source:
        for member in sorted(source.getnames()):
            _, _, place = member.partition("/json/tests/")
            dialect, _, name = place.partition("/")
            folder = name.rpartition("/")[0]
            if dialect not in DIALECTS or f"{folder}/".lstrip("/") not in PARTS or not name.endswith(".json"):
                continue
            read = source.extractfile(member)
            assert read is not None
            packed[f"{dialect}/{name.removesuffix('.json')}"] = [
                [
                    group["description"],
                    group["schema"],
                    [[test["description"], test["data"], test["valid"]] for test in group["tests"]],
                ]
                for group in json.load(read)
            ]
    return packed


if __name__ == "__main__":
    text = json.dumps(pack(Path(sys.argv[1])), separators=(",", ":")).encode()
    Path(__file__).with_name("suite.json.xz").write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
