"""Users: registration, sign-ins and their tokens, the own profile, deactivation.

`sign_ins` issues access tokens and refresh tokens; `passwords` hashes in threads, off the event
loop; `service` holds the other use cases, one transaction each.

Invariants: a refresh token is good for one use, and a second use revokes its family. A changed
password or a deactivated account leaves no sign-in behind. Login takes the same time for an unknown
email as for a wrong password. Locks: the row of the user, then listings by id.

Failures: domain errors of `core.errors`. For wrong credentials the error does not say which.
"""
