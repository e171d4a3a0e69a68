"""The floor: read, decode, encode, write, with the fastest decoder there is and no protocol at all.

`--core=N` pins it, for clients that start it themselves.
"""

import os

from answers import Answers
from command_line import options


def main() -> None:
    core = options().get("core")
    if core is not None:
        os.sched_setaffinity(0, {int(core)})
    answers = Answers()
    decode, of = answers.decode, answers.of
    rest = b""
    while data := os.read(0, 1 << 20):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        out = [answer for line in lines if (answer := of(decode(line))) is not None]
        if out:
            view = memoryview(b"\n".join(out) + b"\n")
            while view:
                view = view[os.write(1, view) :]


main()
