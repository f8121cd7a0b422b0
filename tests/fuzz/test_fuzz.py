"""The short form of `make fuzz`: no input makes anything but an answer or an error of ours."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import targets

INPUTS = 60
REFUSED = {"requests at the gateway"}
"""Its full example names media that is not there."""


@pytest.mark.timeout(300)
def test_no_input_breaks_what_reads_it() -> None:
    with targets() as found:
        for target in found:
            tally = fuzz(target, INPUTS)
            assert tally.read + tally.reasons.total() == tally.inputs >= INPUTS, target.name
            assert "" not in tally.reasons


def test_what_nobody_damaged_is_read() -> None:
    with targets() as found:
        read = [target.feed(target.seeds[0]) for target in found if target.name not in REFUSED]
    assert len(read) == 7
