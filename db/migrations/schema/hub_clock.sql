-- Defaults of times that the hub goes by or shows. Those of credentials, leases, queues and throughput stay with
-- PostgreSQL's clock.
ALTER TABLE users               ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE user_addresses      ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE ledger_transfers    ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE ledger_entries      ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE payment_methods     ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE payment_orders      ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE payment_events      ALTER received_at SET DEFAULT hub_now();
ALTER TABLE devices             ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE device_states       ALTER earns_from  SET DEFAULT hub_now();
ALTER TABLE flags               ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE flags               ALTER updated_at  SET DEFAULT hub_now();
ALTER TABLE rejections          ALTER received_at SET DEFAULT hub_now();
ALTER TABLE energy_listings     ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE energy_listings     ALTER updated_at  SET DEFAULT hub_now();
ALTER TABLE energy_transactions ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE investments         ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE admin_actions       ALTER created_at  SET DEFAULT hub_now();
ALTER TABLE audit_results       ALTER finished_at SET DEFAULT hub_clock_timestamp();
ALTER TABLE energy_listings     ALTER price_slot  SET DEFAULT date_bin('15 minutes', hub_now(), '2000-01-01Z');
