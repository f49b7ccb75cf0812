"""A launcher that makes a program end with the process that started it.

`python -m solarhub.parent_death_signal PARENT_PID UID:GID PROGRAM ARG…`; `-` instead of `UID:GID`
keeps the current user. A process that is killed cannot end its children. On Linux the kernel sends
SIGINT to a child that has asked for it when its parent dies. That request survives exec, but not a
change of user, so the user is changed first. On other systems the program runs without it.
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
        # None of the servers that the hub starts ignores SIGINT.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        # The parent may have died before prctl: then the kernel sends nothing any more.
        if os.getppid() != int(parent_pid):
            sys.exit("the parent process has ended already")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
