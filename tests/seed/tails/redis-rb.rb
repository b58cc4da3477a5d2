
# From here on: numbered writes, one in flight, one JSON line each. Times are seconds on the monotonic clock.
require "json"

def now_s
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

$stdout.sync = true
n = 0
loop do
  n += 1
  sent_s = now_s
  error = nil
  begin
    redis.sadd(ENV.fetch("WRITES_KEY", "writes"), [n])
  rescue Redis::BaseError, SystemCallError, IOError => e
    error = "#{e.class}: #{e.message}"
  end
  puts JSON.generate({ "n" => n, "sent_s" => sent_s, "ended_s" => now_s, "error" => error })
  sleep(ENV.fetch("WRITE_EVERY_MS", "5").to_f / 1000)
end
