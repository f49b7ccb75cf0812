"""How fast it is, measured against a floor or a peer in the same run.

What runs: `solarhub bench [CASE]` (`cli`), one case after the other. A case starts what it
measures as the processes that users start (`processes`, `broker`, `database`), fills them with
data, loads contestants in turns, audits the books, and shows, writes and plots a `result.Result`.

Invariants: contestants of a case share one machine, one database server and one broker, and take
turns, so that a slow minute hits all of them; what is counted is what the database holds
afterwards; a run leaves no process and no database behind.

How it fails: with one line that says which tool is missing or which process ended, and the tail
of its log; exit code 1 when the audit fails. Imported by `solarhub.cli` only.
"""
