"""The gateway adapts nothing itself, and must not pay for torch."""

from __future__ import annotations

import subprocess
import sys


def test_adaptation_of_input_and_output_needs_no_torch() -> None:
    code = (
        "import sys, anygpt_models.input, anygpt_models.input.presets, anygpt_models.output, "
        "anygpt_models.serving.options; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
