"""The wallet: balance, entries, top-ups and withdrawals of the signed-in user.

Routes only. Reads go to `db.wallets`; the payment orders behind top-ups and withdrawals are use
cases of `api.payments.service`. Administrators have no wallet: every route answers them Forbidden.
"""
