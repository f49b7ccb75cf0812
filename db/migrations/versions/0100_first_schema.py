"""The first released schema."""

from db.migrations.sql import has_timescaledb, run_file

# Numbers below 0100 belong to schemas that were never released (db/schema.py).
revision = "0100"
down_revision = None
branch_labels = None
depends_on = None

# Functions that tables use in generated columns and indexes.
_BASE_FUNCTIONS = (
    "public_degrees", "distance_km", "rfc3339", "balance_max", "platform_fee", "sellable_wh",
    "worse_quality",
)  # fmt: skip

# A table comes after those that it refers to.
_TABLES = (
    "users", "addresses", "wallets", "payments", "devices", "readings", "listings", "purchases",
    "investments", "prices", "outbox", "ingesters", "admin",
)  # fmt: skip

# Functions that refer to tables, with the triggers that call them. Order matters where one calls
# another in a body that PostgreSQL checks when it creates the function.
_FUNCTIONS = (
    "forbid_history_change", "check_transfer_sums_to_zero", "number_payment_settlement",
    "forbid_settled_payment_change", "notify_device_access", "notify_host_access", "store_meter",
    "delete_telemetry", "wake_relay", "wallet_json", "listing_members", "listing_text",
    "listing_json", "transaction_members", "transaction_json", "purchase_text",
    "announce_listing", "device_of_investors", "allocate_revenue", "revenue_shares_of_orders",
    "lock_listings", "lock_wallets", "purchase_refusal", "sale_of_order", "balances_after",
    "record_purchases", "purchase_energy",
)  # fmt: skip


def upgrade() -> None:
    for name in _BASE_FUNCTIONS:
        run_file(f"schema/functions/{name}.sql")
    for name in _TABLES:
        run_file(f"schema/{name}.sql")
    run_file(f"schema/{'timescaledb' if has_timescaledb() else 'plain_postgresql'}.sql")
    for name in _FUNCTIONS:
        run_file(f"schema/functions/{name}.sql")
