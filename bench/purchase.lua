-- wrk script of the purchase cases: each connection sends one order after the other.
--   wrk … URL -- ORDERS KEYS
-- ORDERS: a file with lines "<access token> <listing id>"; KEYS: a prefix of idempotency keys that no other run uses.

local orders, sent, keys = {}, 0, ""

function init(args)
  for line in io.lines(args[1]) do
    local token, listing_id = line:match("(%S+) (%S+)")
    orders[#orders + 1] = {
      token = "Bearer " .. token,
      body = '{"listing_id":"' .. listing_id .. '","energy_kwh":0.5}',
    }
  end
  keys = args[2]
end

function request()
  sent = sent + 1
  local order = orders[math.random(#orders)]
  local headers = {
    ["Authorization"] = order.token,
    ["Content-Type"] = "application/json",
    ["Idempotency-Key"] = keys .. "-" .. sent,
  }
  return wrk.format("POST", nil, headers, order.body)
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"answers":%d,"refused":%d,"broken":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f}',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
