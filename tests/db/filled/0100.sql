-- Data of a database at revision 0100: every table has rows, and the audit finds nothing wrong.
-- Dumped from a hub with a host, a buyer and an investor. Loaded with triggers and foreign keys off.

INSERT INTO users (id, email, password_hash, full_name, phone, role, is_active, created_at) VALUES
    ('44402746-53e3-4d2d-a199-4f0f039703e3', 'buyer-ec98968dbde0@example.org', '$2b$04$/a1GWf.4EX99TnBhdKdj1eU0SFzimL/WuO23hi5jihrhMVJTTMfD2', 'Buyer', NULL, 'buyer', true, '2026-11-28 19:25:54.060955+00'),
    ('bc6f383d-181d-4680-9e78-83277448df9b', 'host-d0cad31cfa61@example.org', '$2b$04$/a1GWf.4EX99TnBhdKdj1eU0SFzimL/WuO23hi5jihrhMVJTTMfD2', 'Host', NULL, 'host', true, '2026-11-28 19:25:54.077527+00'),
    ('eceb78aa-00fe-4863-9a8d-94132669b3bb', 'investor-a6caeed69a5a@example.org', '$2b$04$/a1GWf.4EX99TnBhdKdj1eU0SFzimL/WuO23hi5jihrhMVJTTMfD2', 'Investor', NULL, 'investor', true, '2026-11-28 19:25:54.078671+00');

INSERT INTO devices (id, owner_id, name, kind, capacity_w, latitude, longitude, dialect, external_id, time_zone, credential_hash, credential_version, funding_target, revenue_share, funded, carried, created_at, deleted_at) VALUES
    ('110f1d9a-8c77-43bf-aa7c-73936cdd761d', 'bc6f383d-181d-4680-9e78-83277448df9b', 'Roof', 'inverter', 5000, 12.9716, 77.5946, 'native', NULL, 'Asia/Kolkata', '\x5e62de078330f3b856939ec73c164dd56d47ad9e48a5f941fb324f19c1b38bd8', 1, 100.00, 0.5000, 50.00, NULL, '2026-11-28 19:25:54.084928+00', NULL),
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', 'bc6f383d-181d-4680-9e78-83277448df9b', 'Roof', 'inverter', 5000, 12.9716, 77.5946, 'native', NULL, 'Asia/Kolkata', '\x5e62de078330f3b856939ec73c164dd56d47ad9e48a5f941fb324f19c1b38bd8', 1, NULL, NULL, 0.00, NULL, '2026-11-28 19:25:54.209408+00', NULL),
    ('5a5a7add-1039-4120-b744-c403f3389359', 'bc6f383d-181d-4680-9e78-83277448df9b', 'Roof', 'inverter', 5000, 12.9716, 77.5946, 'shelly1', 'shellyplug-1', 'Asia/Kolkata', '\x5e62de078330f3b856939ec73c164dd56d47ad9e48a5f941fb324f19c1b38bd8', 1, NULL, NULL, 0.00, NULL, '2026-11-28 19:25:54.274506+00', '2026-11-28 19:25:54.275587+00');

INSERT INTO admin_actions (id, admin_id, action, subject_kind, subject_id, before, after, reason, created_at) OVERRIDING SYSTEM VALUE VALUES
    (1, '846b3414-98da-44cf-bc6f-fbddf7e59a69', 'freeze', 'device', '110f1d9a-8c77-43bf-aa7c-73936cdd761d', '{"frozen": false}', '{"frozen": true}', 'Test', '2026-11-28 19:25:54.294424+00');

INSERT INTO audit_results (finished_at, ok, checks) VALUES
    ('2026-11-28 19:25:54.295206+00', true, '[]');

INSERT INTO buyers (user_id, monthly_demand_kwh) VALUES
    ('44402746-53e3-4d2d-a199-4f0f039703e3', NULL);

INSERT INTO device_partials (device_id, partial, closes_at) VALUES
    ('110f1d9a-8c77-43bf-aa7c-73936cdd761d', '{"a": 1}', '2026-03-01 00:00:00+00');

INSERT INTO device_states (device_id, status, fault_code, last_seen_at, battery_soc_pct, accounting_state, received, stored, duplicate, rejected, earns_from, capacity_approved, frozen, flagged, flags_due_from, flags_checked_at) VALUES
    ('110f1d9a-8c77-43bf-aa7c-73936cdd761d', 'pending', NULL, NULL, NULL, NULL, 0, 0, 0, 0, '2000-01-01 00:00:00+00', false, false, false, NULL, '-infinity'),
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', 'online', NULL, '2026-11-28 19:25:54.264334+00', NULL, '{"last_at":"2026-11-28T16:25:00Z","counters":{"energy_wh":{"at":"2026-11-28T16:25:00Z","mark_mwh":1500000,"marked_at":"2026-11-28T16:25:00Z"}}}', 4, 3, 0, 1, '2000-01-01 00:00:00+00', false, false, false, '2026-11-28 16:15:00+00', '-infinity'),
    ('5a5a7add-1039-4120-b744-c403f3389359', 'pending', NULL, NULL, NULL, NULL, 0, 0, 0, 0, '2000-01-01 00:00:00+00', false, false, false, NULL, '-infinity');

INSERT INTO accounting_checkpoints (device_id, slot_start, accounting_state)
SELECT device_id, '2026-11-28 16:15:00+00', accounting_state FROM device_states WHERE accounting_state IS NOT NULL;

INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, early_wh, quality, reasons) VALUES
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', '2026-11-28 16:15:00+00', 500.000, 500.000, NULL, 'measured', '{}');

INSERT INTO energy_listings (id, seller_id, device_id, stated_kwh, measured_wh, sold_kwh, price_per_kwh, status, paused_by, auto_adjust, pricing, price_floor, price_cap, price_slot, reserve_soc_pct, exact_latitude, exact_longitude, exact_location, available_from, available_to, measured_from, baseline_wh, version, created_at, updated_at, closed_at) VALUES
    ('8fcdd626-56a3-413f-8c61-8ff6346766ae', 'bc6f383d-181d-4680-9e78-83277448df9b', '110f1d9a-8c77-43bf-aa7c-73936cdd761d', 10.000, 0.000, 2.000, 6.0000, 'active', NULL, true, 'fixed', NULL, NULL, '2026-11-28 19:15:00+00', NULL, 12.9716, 77.5946, true, '2026-11-28 19:24:54.119968+00', '2026-11-29 19:25:54.120099+00', '2026-11-28 19:15:00+00', 0.000, 2, '2026-11-28 19:25:54.120099+00', '2026-11-28 19:25:54.136919+00', NULL),
    ('08e2b28e-4c99-4734-8c3c-bdd7fe85978a', 'bc6f383d-181d-4680-9e78-83277448df9b', '705239fe-4fc3-4769-82d9-45a89c27b73e', 0.000, 500.000, 0.000, 6.0000, 'active', NULL, true, 'fixed', NULL, NULL, '2026-11-28 19:15:00+00', NULL, 12.9716, 77.5946, true, '2026-11-28 16:15:00+00', '2026-11-29 19:25:54.211261+00', '2026-11-28 16:15:00+00', 0.000, 2, '2026-11-28 19:25:54.211261+00', '2026-11-28 19:25:54.212354+00', NULL);

INSERT INTO ledger_transfers (id, kind, reference_id, created_at) VALUES
    ('b3e59bc7-b165-453f-a574-0cc72269de57', 'topup', '98967474-054d-4278-b1ff-838b746c0102', '2026-11-28 19:25:54.066465+00'),
    ('385864e7-1221-447a-9c2f-f361891d48be', 'topup', 'd95a2c25-a79d-4af5-8951-f17de7b3f9e2', '2026-11-28 19:25:54.079611+00'),
    ('de5f728b-7c38-4b7e-8d7b-d46891e0a91e', 'investment', 'a48cf037-a14c-4da8-ba42-6077bd9d94c7', '2026-11-28 19:25:54.08807+00'),
    ('5cba7849-e79a-4cdf-ab33-863de38ed5b6', 'purchase', 'c9db2f4a-13bb-4d15-8948-3e562f698d2a', '2026-11-28 19:25:54.136919+00'),
    ('5d626b94-0b77-477c-8d9c-9c9bc8e0fbcc', 'topup', 'cdbb2f53-f765-4420-b2bf-e43c976c755d', '2026-11-28 19:25:54.175161+00'),
    ('93f5911d-b068-42cf-ba48-07d733f1a0fd', 'withdrawal', 'b4be8985-9d02-47cc-b915-c7eebe7a3b1f', '2026-11-28 19:25:54.183774+00'),
    ('7cc008a3-81a2-431f-94e8-31b18721e4f8', 'withdrawal', '9f4bcc09-e12e-4805-96d6-41c62bfa80c5', '2026-11-28 19:25:54.191642+00'),
    ('db3562c5-f20c-4ad5-a46a-9aa39141ffd0', 'reversal', '9f4bcc09-e12e-4805-96d6-41c62bfa80c5', '2026-11-28 19:25:54.195964+00'),
    ('90d8dd26-f772-436b-94db-203da5e47a92', 'withdrawal', 'afd54003-459e-4611-854b-526429470941', '2026-11-28 19:25:54.202332+00');

INSERT INTO payment_methods (id, user_id, kind, label, provider, provider_ref, is_default, created_at) VALUES
    ('9860cfd5-acb7-4b87-af8e-9627ae8ceed6', '44402746-53e3-4d2d-a199-4f0f039703e3', 'upi', 'Ann''s "UPI"', 'sandbox', 'pm_1', true, '2026-11-28 19:25:54.284928+00');

INSERT INTO energy_transactions (id, listing_id, buyer_id, seller_id, payment_method_id, transfer_id, energy_kwh, price_per_kwh, total_price, platform_fee, seller_amount, investor_amount, status, created_at) VALUES
    ('c9db2f4a-13bb-4d15-8948-3e562f698d2a', '8fcdd626-56a3-413f-8c61-8ff6346766ae', '44402746-53e3-4d2d-a199-4f0f039703e3', 'bc6f383d-181d-4680-9e78-83277448df9b', NULL, '5cba7849-e79a-4cdf-ab33-863de38ed5b6', 2.000, 6.0000, 12.00, 0.60, 11.40, 2.85, 'completed', '2026-11-28 19:25:54.136919+00');

INSERT INTO failed_items (id, queue, item, error, tries, data, failed_at, retry_at, set_aside_at) VALUES
    ('7c9aa76d-c050-4049-9869-cd2c91f30d0b', 'events', '7', 'boom', 1, '{"type": "x"}', '2026-11-28 19:25:54.293121+00', '2026-03-02 00:00:00+00', NULL);

INSERT INTO flags (id, device_id, kind, state, energy_wh, evidence, created_at, updated_at, confirmed_at, confirmed_by) OVERRIDING SYSTEM VALUE VALUES
    (1, '110f1d9a-8c77-43bf-aa7c-73936cdd761d', 'near_limit', 'open', 12.500, '{"n": 1}', '2026-11-28 19:25:54.28629+00', '2026-11-28 19:25:54.28629+00', NULL, NULL);

INSERT INTO flow_samples (time, received, stored, duplicate, rejected, events, outbox_depth, outbox_age_s, sockets, commit_to_socket_p50_ms, commit_to_socket_p99_ms) VALUES
    ('2026-11-28 19:25:54.295647+00', 1, 1, 0, 0, 2, 0, 0.5, 3, NULL, NULL);

INSERT INTO hosts (user_id, property_name, tariff_per_kwh) VALUES
    ('bc6f383d-181d-4680-9e78-83277448df9b', NULL, NULL);

INSERT INTO idempotency_keys (user_id, operation, key, request_hash, result_id, created_at) VALUES
    ('44402746-53e3-4d2d-a199-4f0f039703e3', 'purchase', 'key-1', '\x454349e422f05297191ead13e21d3db520e5abef52055e4964b82fb213f593a1', 'c9db2f4a-13bb-4d15-8948-3e562f698d2a', '2026-11-28 19:25:54.302557+00');

INSERT INTO ingest_sessions (client_id, ingest_group, share, shares, is_former, subscribed_at, member, holder, held_since, seen_at) VALUES
    ('solarhub-main-1-of-2', 'main', 0, 2, false, NULL, NULL, NULL, NULL, NULL);

INSERT INTO ingesters (client_id, ingest_group, holder, keeps_session, sessions, seen_at) VALUES
    ('solarhub-ingest', 'main', '290b722a-576b-4904-b1b9-db965c6ef1da', true, 2, '2026-11-28 19:25:54.293608+00');

INSERT INTO investments (id, investor_id, device_id, amount, transfer_id, created_at) VALUES
    ('a48cf037-a14c-4da8-ba42-6077bd9d94c7', 'eceb78aa-00fe-4863-9a8d-94132669b3bb', '110f1d9a-8c77-43bf-aa7c-73936cdd761d', 50.00, 'de5f728b-7c38-4b7e-8d7b-d46891e0a91e', '2026-11-28 19:25:54.08807+00');

INSERT INTO investors (user_id, company) VALUES
    ('eceb78aa-00fe-4863-9a8d-94132669b3bb', NULL);

INSERT INTO ledger_digests (sequence, entries_to, settlements_to, transfer_ids, transfer_hashes, payment_ids, payment_hashes, hash) VALUES
    (1, 20, 5, '{b3e59bc7-b165-453f-a574-0cc72269de57,385864e7-1221-447a-9c2f-f361891d48be,de5f728b-7c38-4b7e-8d7b-d46891e0a91e,5cba7849-e79a-4cdf-ab33-863de38ed5b6,5d626b94-0b77-477c-8d9c-9c9bc8e0fbcc,93f5911d-b068-42cf-ba48-07d733f1a0fd,7cc008a3-81a2-431f-94e8-31b18721e4f8,db3562c5-f20c-4ad5-a46a-9aa39141ffd0,90d8dd26-f772-436b-94db-203da5e47a92}', '{"\\x5d780b6d08607ef9a5bec9ac60819d232f208f36ddda99a074028182e46f4f18","\\x9b51036eb95cd3601c5fd918b31149f104d5aa5dac4ab8b9e68498e56fb188fb","\\x7f9dcba36d73c754167a019dbc72ec4cc9b75dec87e557df4791bb2e4581b234","\\xeb1c7cea5e2f52a3e9a4992fa9eed3f0076f2de6a497da761a977a2616571b39","\\x1449a628691869e61acb9b5df3390aed76c1fe0fbf3db7571979c72e1041abe7","\\xcbb071c5721f820a174a61bafb2bf35599d342197e9ea5b9d2de5bd9decc9c8a","\\xad46f28360f85a034dfcec062c5cbc43a9fd62945be87751bd86f3a43db3d51e","\\x7351730ff20e4501a7806e8b5d5747b2b95b3063c3b7dd44fd3f880964aceca0","\\x30c7cf4a79c6124093c2224a833ad70c82f6b4841850757be10197bd6a1adb2a"}', '{98967474-054d-4278-b1ff-838b746c0102,d95a2c25-a79d-4af5-8951-f17de7b3f9e2,cdbb2f53-f765-4420-b2bf-e43c976c755d,b4be8985-9d02-47cc-b915-c7eebe7a3b1f,9f4bcc09-e12e-4805-96d6-41c62bfa80c5}', '{"\\x08289b70a3bb8c609ff73421f9707761f6556ff1004f638e272296ea0e88c4b5","\\x27df00f60cf6df0ed1ec9300958750d122ddadde70d95aa1d2ba6a34dd101c35","\\x737595a62004fed4ec7b1775ad9d95c7970422014c883a0b4fe558a4ff1cbb37","\\xc6b2176c12a0c8bcfc171076f55230608e1dbe75568fb5ff38f7841e17dcf6b3","\\x71390f46ea213e18f84311def68c52d74a2bb95174335059ff1bb2e7bf8867c8"}', '\xb7a79c515e515892c7af786b83c2b6036bd931d73ea5265a3ee198a6d973f22a');

INSERT INTO ledger_entries (id, transfer_id, account, amount, created_at) OVERRIDING SYSTEM VALUE VALUES
    (1, 'b3e59bc7-b165-453f-a574-0cc72269de57', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', 500.00, '2026-11-28 19:25:54.066465+00'),
    (2, 'b3e59bc7-b165-453f-a574-0cc72269de57', 'external:sandbox', -500.00, '2026-11-28 19:25:54.066465+00'),
    (3, '385864e7-1221-447a-9c2f-f361891d48be', 'wallet:eceb78aa-00fe-4863-9a8d-94132669b3bb', 100.00, '2026-11-28 19:25:54.079611+00'),
    (4, '385864e7-1221-447a-9c2f-f361891d48be', 'external:sandbox', -100.00, '2026-11-28 19:25:54.079611+00'),
    (5, 'de5f728b-7c38-4b7e-8d7b-d46891e0a91e', 'wallet:eceb78aa-00fe-4863-9a8d-94132669b3bb', -50.00, '2026-11-28 19:25:54.08807+00'),
    (6, 'de5f728b-7c38-4b7e-8d7b-d46891e0a91e', 'wallet:bc6f383d-181d-4680-9e78-83277448df9b', 50.00, '2026-11-28 19:25:54.08807+00'),
    (7, '5cba7849-e79a-4cdf-ab33-863de38ed5b6', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', -12.00, '2026-11-28 19:25:54.136919+00'),
    (8, '5cba7849-e79a-4cdf-ab33-863de38ed5b6', 'wallet:bc6f383d-181d-4680-9e78-83277448df9b', 8.55, '2026-11-28 19:25:54.136919+00'),
    (9, '5cba7849-e79a-4cdf-ab33-863de38ed5b6', 'wallet:eceb78aa-00fe-4863-9a8d-94132669b3bb', 2.85, '2026-11-28 19:25:54.136919+00'),
    (10, '5cba7849-e79a-4cdf-ab33-863de38ed5b6', 'platform:fees', 0.60, '2026-11-28 19:25:54.136919+00'),
    (11, '5d626b94-0b77-477c-8d9c-9c9bc8e0fbcc', 'external:sandbox', -20.00, '2026-11-28 19:25:54.175161+00'),
    (12, '5d626b94-0b77-477c-8d9c-9c9bc8e0fbcc', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', 20.00, '2026-11-28 19:25:54.175161+00'),
    (13, '93f5911d-b068-42cf-ba48-07d733f1a0fd', 'external:sandbox', 20.00, '2026-11-28 19:25:54.183774+00'),
    (14, '93f5911d-b068-42cf-ba48-07d733f1a0fd', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', -20.00, '2026-11-28 19:25:54.183774+00'),
    (15, '7cc008a3-81a2-431f-94e8-31b18721e4f8', 'external:sandbox', 20.00, '2026-11-28 19:25:54.191642+00'),
    (16, '7cc008a3-81a2-431f-94e8-31b18721e4f8', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', -20.00, '2026-11-28 19:25:54.191642+00'),
    (17, 'db3562c5-f20c-4ad5-a46a-9aa39141ffd0', 'external:sandbox', -20.00, '2026-11-28 19:25:54.195964+00'),
    (18, 'db3562c5-f20c-4ad5-a46a-9aa39141ffd0', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', 20.00, '2026-11-28 19:25:54.195964+00'),
    (19, '90d8dd26-f772-436b-94db-203da5e47a92', 'external:sandbox', 20.00, '2026-11-28 19:25:54.202332+00'),
    (20, '90d8dd26-f772-436b-94db-203da5e47a92', 'wallet:44402746-53e3-4d2d-a199-4f0f039703e3', -20.00, '2026-11-28 19:25:54.202332+00');

INSERT INTO meters (dialect, external_id, device_id, frozen, accounting_state, last_at, partial) VALUES
    ('shelly1', 'shellyplug-1', '5a5a7add-1039-4120-b744-c403f3389359', false, NULL, NULL, NULL);

INSERT INTO price_slots (slot_start) VALUES
    ('2026-03-01 06:30:00+00');

INSERT INTO neighbourhood_prices (slot_start, cell, offered_kwh, wanted_kwh, sell_price, buy_price) VALUES
    ('2026-03-01 06:30:00+00', '8860145b57fffff', 3, 4, 6.0000, 6.5000);

INSERT INTO outbox (id, type, channels, data, created_at) OVERRIDING SYSTEM VALUE VALUES
    (1, 'wallet.updated', '{user:bc6f383d-181d-4680-9e78-83277448df9b}', '{"balance": "50.00", "user_id": "bc6f383d-181d-4680-9e78-83277448df9b", "currency": "INR"}', '2026-11-28 19:25:54.117256+00'),
    (2, 'wallet.updated', '{user:eceb78aa-00fe-4863-9a8d-94132669b3bb}', '{"balance": "50.00", "user_id": "eceb78aa-00fe-4863-9a8d-94132669b3bb", "currency": "INR"}', '2026-11-28 19:25:54.118008+00'),
    (3, 'listing.updated', '{listings,listing:8fcdd626-56a3-413f-8c61-8ff6346766ae}', '{"id": "8fcdd626-56a3-413f-8c61-8ff6346766ae", "status": "active", "pricing": "fixed", "version": 2, "latitude": 12.9716, "sold_kwh": "2.000", "device_id": "110f1d9a-8c77-43bf-aa7c-73936cdd761d", "longitude": 77.5946, "price_cap": null, "seller_id": "bc6f383d-181d-4680-9e78-83277448df9b", "created_at": "2026-11-28T19:25:54.120099Z", "updated_at": "2026-11-28T19:25:54.136919Z", "auto_adjust": true, "price_floor": null, "available_to": "2026-11-29T19:25:54.120099Z", "price_per_kwh": "6.0000", "available_from": "2026-11-28T19:24:54.119968Z", "exact_location": true, "reserve_soc_pct": null, "energy_amount_kwh": "8.000"}', '2026-11-28 19:25:54.162419+00'),
    (4, 'purchase.completed', '{user:44402746-53e3-4d2d-a199-4f0f039703e3,user:bc6f383d-181d-4680-9e78-83277448df9b,admin}', '{"id": "c9db2f4a-13bb-4d15-8948-3e562f698d2a", "status": "completed", "buyer_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "seller_id": "bc6f383d-181d-4680-9e78-83277448df9b", "created_at": "2026-11-28T19:25:54.136919Z", "energy_kwh": "2.000", "listing_id": "8fcdd626-56a3-413f-8c61-8ff6346766ae", "total_price": "12.00", "platform_fee": "0.60", "price_per_kwh": "6.0000", "seller_amount": "11.40", "investor_amount": "2.85", "payment_method_id": null}', '2026-11-28 19:25:54.162531+00'),
    (5, 'wallet.updated', '{user:44402746-53e3-4d2d-a199-4f0f039703e3}', '{"balance": "488.00", "user_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "currency": "INR"}', '2026-11-28 19:25:54.162754+00'),
    (6, 'wallet.updated', '{user:bc6f383d-181d-4680-9e78-83277448df9b}', '{"balance": "58.55", "user_id": "bc6f383d-181d-4680-9e78-83277448df9b", "currency": "INR"}', '2026-11-28 19:25:54.162771+00'),
    (7, 'wallet.updated', '{user:eceb78aa-00fe-4863-9a8d-94132669b3bb}', '{"balance": "52.85", "user_id": "eceb78aa-00fe-4863-9a8d-94132669b3bb", "currency": "INR"}', '2026-11-28 19:25:54.162797+00'),
    (8, 'wallet.updated', '{user:44402746-53e3-4d2d-a199-4f0f039703e3}', '{"balance": "508.00", "user_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "currency": "INR"}', '2026-11-28 19:25:54.182688+00'),
    (9, 'wallet.updated', '{user:44402746-53e3-4d2d-a199-4f0f039703e3}', '{"balance": "488.00", "user_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "currency": "INR"}', '2026-11-28 19:25:54.184612+00'),
    (10, 'wallet.updated', '{user:44402746-53e3-4d2d-a199-4f0f039703e3}', '{"balance": "468.00", "user_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "currency": "INR"}', '2026-11-28 19:25:54.192743+00'),
    (11, 'wallet.updated', '{user:44402746-53e3-4d2d-a199-4f0f039703e3}', '{"balance": "488.00", "user_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "currency": "INR"}', '2026-11-28 19:25:54.201202+00'),
    (12, 'wallet.updated', '{user:44402746-53e3-4d2d-a199-4f0f039703e3}', '{"balance": "468.00", "user_id": "44402746-53e3-4d2d-a199-4f0f039703e3", "currency": "INR"}', '2026-11-28 19:25:54.203277+00'),
    (13, 'listing.updated', '{listings,listing:08e2b28e-4c99-4734-8c3c-bdd7fe85978a}', '{"id": "08e2b28e-4c99-4734-8c3c-bdd7fe85978a", "status": "active", "pricing": "fixed", "version": 2, "latitude": 12.9716, "sold_kwh": "0.000", "device_id": "705239fe-4fc3-4769-82d9-45a89c27b73e", "longitude": 77.5946, "price_cap": null, "seller_id": "bc6f383d-181d-4680-9e78-83277448df9b", "created_at": "2026-11-28T19:25:54.211261Z", "updated_at": "2026-11-28T19:25:54.212354Z", "auto_adjust": true, "price_floor": null, "available_to": "2026-11-29T19:25:54.211261Z", "price_per_kwh": "6.0000", "available_from": "2026-11-28T16:15:00.000000Z", "exact_location": true, "reserve_soc_pct": null, "energy_amount_kwh": "0.500"}', '2026-11-28 19:25:54.242781+00'),
    (14, 'device.status', '{device:705239fe-4fc3-4769-82d9-45a89c27b73e,user:bc6f383d-181d-4680-9e78-83277448df9b,admin}', '{"status": "online", "device_id": "705239fe-4fc3-4769-82d9-45a89c27b73e", "fault_code": null, "last_seen_at": "2026-11-28T19:25:54.212167Z"}', '2026-11-28 19:25:54.26015+00');

INSERT INTO payment_orders (id, user_id, payment_method_id, provider, kind, amount, status, transfer_id, created_at, completed_at, settlement) VALUES
    ('98967474-054d-4278-b1ff-838b746c0102', '44402746-53e3-4d2d-a199-4f0f039703e3', NULL, 'sandbox', 'topup', 500.00, 'completed', 'b3e59bc7-b165-453f-a574-0cc72269de57', '2026-11-28 19:25:54.066465+00', '2026-11-28 19:25:54.066465+00', 1),
    ('d95a2c25-a79d-4af5-8951-f17de7b3f9e2', 'eceb78aa-00fe-4863-9a8d-94132669b3bb', NULL, 'sandbox', 'topup', 100.00, 'completed', '385864e7-1221-447a-9c2f-f361891d48be', '2026-11-28 19:25:54.079611+00', '2026-11-28 19:25:54.079611+00', 2),
    ('cdbb2f53-f765-4420-b2bf-e43c976c755d', '44402746-53e3-4d2d-a199-4f0f039703e3', NULL, 'sandbox', 'topup', 20.00, 'completed', '5d626b94-0b77-477c-8d9c-9c9bc8e0fbcc', '2026-11-28 19:25:54.169801+00', '2026-11-28 19:25:54.175161+00', 3),
    ('b4be8985-9d02-47cc-b915-c7eebe7a3b1f', '44402746-53e3-4d2d-a199-4f0f039703e3', NULL, 'sandbox', 'withdrawal', 20.00, 'completed', '93f5911d-b068-42cf-ba48-07d733f1a0fd', '2026-11-28 19:25:54.183774+00', '2026-11-28 19:25:54.190061+00', 4),
    ('9f4bcc09-e12e-4805-96d6-41c62bfa80c5', '44402746-53e3-4d2d-a199-4f0f039703e3', NULL, 'sandbox', 'withdrawal', 20.00, 'failed', '7cc008a3-81a2-431f-94e8-31b18721e4f8', '2026-11-28 19:25:54.191642+00', '2026-11-28 19:25:54.195964+00', 5),
    ('afd54003-459e-4611-854b-526429470941', '44402746-53e3-4d2d-a199-4f0f039703e3', NULL, 'sandbox', 'withdrawal', 20.00, 'pending', '90d8dd26-f772-436b-94db-203da5e47a92', '2026-11-28 19:25:54.202332+00', NULL, NULL);

INSERT INTO payment_events (provider, event_id, order_id, received_at) VALUES
    ('sandbox', 'cdbb2f53-f765-4420-b2bf-e43c976c755d', 'cdbb2f53-f765-4420-b2bf-e43c976c755d', '2026-11-28 19:25:54.175161+00'),
    ('sandbox', 'b4be8985-9d02-47cc-b915-c7eebe7a3b1f', 'b4be8985-9d02-47cc-b915-c7eebe7a3b1f', '2026-11-28 19:25:54.190061+00'),
    ('sandbox', '9f4bcc09-e12e-4805-96d6-41c62bfa80c5', '9f4bcc09-e12e-4805-96d6-41c62bfa80c5', '2026-11-28 19:25:54.195964+00'),
    ('sandbox', 'evt_0', '98967474-054d-4278-b1ff-838b746c0102', '2026-11-28 19:25:54.300925+00');

INSERT INTO refresh_tokens (id, family_id, user_id, token_hash, expires_at, used_at, revoked_at, created_at) VALUES
    ('711c4137-b5e1-4faa-a0ca-6fe9391ad766', 'b63bfdb7-8dc6-44e4-be3e-7b5c6de19350', '44402746-53e3-4d2d-a199-4f0f039703e3', '\xe3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8', '2026-04-01 00:00:00+00', NULL, NULL, '2026-11-28 19:25:54.280924+00');

INSERT INTO refused_demand (slot_start, buyer_id, listing_id, energy_kwh) VALUES
    ('2026-03-01 06:30:00+00', '44402746-53e3-4d2d-a199-4f0f039703e3', '8fcdd626-56a3-413f-8c61-8ff6346766ae', 3.000);

INSERT INTO rejections (id, device_id, topic, payload, reason, readings, time, received_at) OVERRIDING SYSTEM VALUE VALUES
    (1, '705239fe-4fc3-4769-82d9-45a89c27b73e', 'solar/705239fe-4fc3-4769-82d9-45a89c27b73e/telemetry', '\x0020706f69736f6e', 'malformed: payload must be JSON', 1, NULL, '2026-11-28 19:25:54.264334+00');

INSERT INTO rejections_dropped (device_id, readings) VALUES
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', 0);

INSERT INTO revenue_shares (transaction_id, investment_id, investor_id, amount) VALUES
    ('c9db2f4a-13bb-4d15-8948-3e562f698d2a', 'a48cf037-a14c-4da8-ba42-6077bd9d94c7', 'eceb78aa-00fe-4863-9a8d-94132669b3bb', 2.85);

INSERT INTO sign_in_codes (code_hash, user_id, expires_at) VALUES
    ('\x2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6', 'bc6f383d-181d-4680-9e78-83277448df9b', '2026-04-01 00:00:00+00');

INSERT INTO telemetry (device_id, time, power_w, energy_wh, export_wh, import_wh, load_w, voltage_v, current_a, frequency_hz, temperature_c, battery_soc_pct, parts, counts_since) VALUES
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', '2026-11-28 16:15:00+00', NULL, 1000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', '2026-11-28 16:20:00+00', NULL, 1250, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', '2026-11-28 16:25:00+00', NULL, 1500, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

INSERT INTO unaccounted_readings (device_id, time, accounted, energy_wh) VALUES
    ('705239fe-4fc3-4769-82d9-45a89c27b73e', '2026-11-28 16:20:00+00', true, 1250);

INSERT INTO user_addresses (id, user_id, label, latitude, longitude, is_default, created_at) VALUES
    ('31f8752e-af8b-4a57-8480-8f29dfc2febb', 'bc6f383d-181d-4680-9e78-83277448df9b', 'home', 12.9716, 77.5946, true, '2026-11-28 19:25:54.278167+00');

INSERT INTO wallets (user_id, currency, balance) VALUES
    ('bc6f383d-181d-4680-9e78-83277448df9b', 'INR', 58.55),
    ('eceb78aa-00fe-4863-9a8d-94132669b3bb', 'INR', 52.85),
    ('44402746-53e3-4d2d-a199-4f0f039703e3', 'INR', 468.00);
SELECT setval('admin_actions_id_seq', 1, true);
SELECT setval('flags_id_seq', 1, true);
SELECT setval('ledger_entries_id_seq', 20, true);
SELECT setval('outbox_id_seq', 14, true);
SELECT setval('payment_settlements', 5, true);
SELECT setval('rejections_id_seq', 1, true);
