"""SQL functions, one to a file, with the triggers that call them.

A file has the current version alone, and defines it so that it can run again. A migration to the
newest revision runs all files after its revisions, in the order of `ALL`. So a changed function
needs a new revision, which may have nothing else to do.
"""

# Functions of generated columns and indexes: the first revision runs them before its tables.
OF_COLUMNS = (
    "public_degrees", "distance_km", "rfc3339", "balance_max", "platform_fee", "sellable_wh",
    "worse_quality",
)  # fmt: skip

# Functions of column defaults: the revision that sets the defaults runs them before.
OF_DEFAULTS = ("hub_time", "hub_now", "hub_clock_timestamp")

# Order matters where one calls another in a body that PostgreSQL checks when it creates a function.
ALL = (
    *OF_DEFAULTS, *OF_COLUMNS,
    "forbid_history_change", "check_transfer_sums_to_zero", "number_payment_settlement",
    "forbid_settled_payment_change", "notify_device_access", "notify_host_access", "store_meter",
    "delete_telemetry", "wake_relay", "wallet_json", "listing_members", "listing_text",
    "listing_json", "transaction_members", "transaction_json", "purchase_text",
    "announce_listing", "device_of_investors", "allocate_revenue", "revenue_shares_of_orders",
    "lock_listings", "lock_wallets", "purchase_refusal", "sale_of_order", "balances_after",
    "record_purchases", "purchase_energy",
)  # fmt: skip
