"""Benchmarks: the hub against a floor or a peer, in the same run on the same machine.

What runs: `solarhub bench [CASE]…` (`cli`), one case after the other (`suite`). A case starts the
same processes that users start (`processes`, `mqtt`, `database`), inserts data (`seed`), loads its
contestants in turns, runs the audit, and returns a `result.Result`, which `report` prints, writes
and plots.

Invariants: the contestants of a case share one machine, one database server and one broker, and
take turns, so that a slow minute affects all of them. Work counts only if the database contains it
afterwards. A run leaves no process and no database behind.

How it fails: with one line that names the missing program or the process that ended, and the end
of its log. The exit code is 1 when an audit fails. Nothing imports this package: `solarhub` finds
its command as an entry point in pyproject.toml.
"""
