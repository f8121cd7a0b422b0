"""`python -m tests.fuzz [INPUTS]`: so many inputs, shared among the targets, and a table of what came of them."""

from __future__ import annotations

import logging
import sys

from tests.fuzz.run import Tally, fuzz
from tests.fuzz.targets import targets

ROUND = 2_500
"""Hypothesis remembers what it tried: a new run of it after so many inputs keeps that small."""
ROW = "{:24} {:>8} {:>8} {:>8} {:>7} {:>8} {:>9}  {}"


def main(count: int) -> None:
    """Feed all targets and print a row for each."""
    logging.disable(logging.CRITICAL)
    print(ROW.format("target", "inputs", "read", "refused", "deaths", "seconds", "peak MiB", "reasons"))
    with targets() as found:
        for target in found:
            whole = Tally(target.name)
            for start in range(0, -(-count // len(found)), ROUND):
                tally = fuzz(target, min(ROUND, -(-count // len(found)) - start), start)
                whole.inputs, whole.read = whole.inputs + tally.inputs, whole.read + tally.read
                whole.reasons += tally.reasons
                whole.deaths, whole.seconds = whole.deaths + tally.deaths, whole.seconds + tally.seconds
                whole.peak_mib = tally.peak_mib
            print(_row(whole), flush=True)


def _row(tally: Tally) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.reasons.most_common(4))
    return ROW.format(
        tally.target, tally.inputs, tally.read, tally.reasons.total(), tally.deaths,
        f"{tally.seconds:.0f}", tally.peak_mib, reasons,
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
