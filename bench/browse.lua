-- Load of the cases that browse, for wrk: one path after the other on each connection, again and again.
--   wrk … URL -- PATHS TOKEN
-- PATHS: a file with a path on each line.

local paths, asked, headers = {}, 0, {}

function init(args)
  for path in io.lines(args[1]) do
    paths[#paths + 1] = path
  end
  headers["Authorization"] = "Bearer " .. args[2]
end

function request()
  asked = asked + 1
  return wrk.format("GET", paths[asked % #paths + 1], headers)
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"answers":%d,"refused":%d,"broken":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f}',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
