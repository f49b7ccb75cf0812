-- wrk script of the browsing cases: each connection requests one path after the other.
--   wrk … URL -- PATHS TOKEN
-- PATHS: a file with one path per line.

local paths, sent, headers = {}, 0, {}

function init(args)
  for path in io.lines(args[1]) do
    paths[#paths + 1] = path
  end
  headers["Authorization"] = "Bearer " .. args[2]
end

function request()
  sent = sent + 1
  return wrk.format("GET", paths[sent % #paths + 1], headers)
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"answers":%d,"refused":%d,"broken":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f}',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
