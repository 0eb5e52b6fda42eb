"""The programs ask for threads that sleep while they wait, before torch reads what was asked for."""

import os
import subprocess
import sys

import pytest

ASK = "import os, sys, regcore.cli; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"


@pytest.mark.parametrize(("chosen", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_the_command_line_asks_in_time(chosen, expected):
    left = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    out = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True, env=left | chosen)
    assert out.stdout.split() == [expected, "False"]
