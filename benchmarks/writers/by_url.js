// ioredis by REDIS_URL, as it comes: numbered writes, one in flight, one JSON line each. Times are monotonic seconds.
var Redis = require('ioredis');

var client = new Redis(process.env.REDIS_URL);
client.on('error', function () {});
function now_s() { return Number(process.hrtime.bigint()) / 1e9; }
function write(n) {
    var sent_s = now_s();
    function ended(error) {
        var line = {n: n, sent_s: sent_s, ended_s: now_s(), error: error ? String(error.message || error) : null};
        process.stdout.write(JSON.stringify(line) + '\n');
        setTimeout(write, Number(process.env.WRITE_EVERY_MS || 5), n + 1);
    }
    client.sadd(process.env.WRITES_KEY, n).then(function () { ended(null); }, ended);
}
write(1);
