
// From here on: numbered writes, one in flight, one JSON line each. Times are seconds on the monotonic clock.
redisClient.on('error', function (error) {});
function now_s() { return Number(process.hrtime.bigint()) / 1e9; }
function write(n) {
    var sent_s = now_s();
    var over = false;
    function ended(error) {
        if (over) { return; }
        over = true;
        clearTimeout(patience);
        var line = {n: n, sent_s: sent_s, ended_s: now_s(), error: error ? String(error.message || error) : null};
        process.stdout.write(JSON.stringify(line) + '\n');
        setTimeout(write, Number(process.env.WRITE_EVERY_MS || 5), n + 1);
    }
    // This old client can forget a command that was in flight when its connection broke.
    var patience = setTimeout(ended, 1000, new Error('no answer in 1 s'));
    redisClient.sadd(process.env.WRITES_KEY || 'writes', n, ended);
}
write(1);
