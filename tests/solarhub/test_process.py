"""The life of a process, in a process of its own."""

import subprocess
import sys

_PRINT_LIMIT = """
import resource
from solarhub.process import run_until_stopped

async def work():
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
run_until_stopped(work())
"""


def test_a_process_raises_its_limit_of_open_files() -> None:
    """With the usual 1,024 a stranger's idle connections leave none for the database."""
    printed = subprocess.run(
        [sys.executable, "-c", _PRINT_LIMIT], capture_output=True, text=True, check=True
    )
    soft, hard = map(int, printed.stdout.split())
    assert soft == min(hard, 65_536) > 256
