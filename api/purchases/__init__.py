"""Purchases: buying energy from a listing, and the transactions that record it.

`service.PurchaseBatcher` runs in every API process. Orders that arrive while a batch is in the
database wait in its queue and form the next batch. A batch is one call of the SQL function
`purchase_energy` (`db.purchases.purchase`): one statement, one transaction.

Invariants: an order is carried out as a whole or not at all, and is answered after the commit. The
SQL function alone decides every order, also whether the buyer's balance covers it: nothing here
reads a balance before. Locks: listings by id, then wallets by user id.

Failures: each order of a batch has its own outcome, a `Purchase` or a domain error. If the
database fails under a batch, every order of it fails with that error.
"""
