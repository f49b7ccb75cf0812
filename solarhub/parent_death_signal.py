"""Become a program that does not outlive whoever started it.

`python -m solarhub.leash PARENT_PID UID:GID PROGRAM ARG…` (`-`: as whom we are already). Whoever is
killed can end nobody; on Linux the kernel then sends SIGINT to those who asked for it, and that
outlasts exec, but not a change of user, hence the order. Elsewhere the program just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: str, owner: str, *command: str) -> None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if owner != "-":
        uid, gid = map(int, owner.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)  # which no server that we run ignores
        if os.getppid() != int(parent_pid):
            sys.exit("whoever started this is gone already")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
