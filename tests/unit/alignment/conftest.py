from __future__ import annotations

import pytest

from services.trainer.data.chat import own_exchanges
from services.trainer.data.talk import Talk

WORDS = """
time people way day man thing woman life child world school state family student group country problem hand part place
case week company system program question work government number night point home water room mother area money story
fact month lot right study book eye job word business issue side kind head house service friend
"""


@pytest.fixture(scope="session")
def talk() -> Talk:
    """Own exchanges only, and sentences around a few words."""
    return Talk.of(own_exchanges(), WORDS.split())
