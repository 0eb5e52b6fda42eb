"""Memory that a step freed serves the next one."""

import subprocess
import sys

import pytest

# Page faults of writing 64 MB again and again, after a first time.
FAULTS = """
import ctypes, resource, sys
from regcore.heap import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else True
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def write():
    place = libc.malloc(64 << 20)
    ctypes.memset(place, 1, 64 << 20)
    libc.free(ctypes.c_void_p(place))
write()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    write()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    out = subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout
    return [int(word) for word in out.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted on Linux only")
def test_freed_memory_is_not_asked_for_again():
    kept, few = faults("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert few < 0.1 * faults("leave")[1]
