"""The vocabulary and the decisions of solarhub.

Pure but for `settings` (environment), `log` and `clock`: no I/O, no state, no import of another
package of the project. Every decision about
energy, prices, money or access is made here, so that it can be tested without a database.

All other packages may import core. A refusal is raised as a `core.errors.DomainError`.

Fields of `core.accounting.AccountingState` and of the structs in it are stored in the database as
JSON: their names never change.
"""
