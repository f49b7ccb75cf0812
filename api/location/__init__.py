"""Location: the user's addresses, and users, devices and listings near a place.

`service` changes addresses, one transaction each. The nearby routes read `db.nearby`.

Invariants: a user with addresses has exactly one default address. Homes of others are found,
measured and shown by their place rounded to 0.01°, so that no distance reveals a home; a listing
may have made its exact place public. Lock: the row of the user.

Failures: without a place and without a default address the nearby routes answer `NoLocation`.
"""
