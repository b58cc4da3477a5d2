var sentinel = require('redis-sentinel');

var addresses = process.env.REDIS_SENTINEL_LIST.split(',');
var endpoints = new Array(addresses.length)
addresses.forEach(function(element, index, array) {
    addr = element.split(':');
    endpoints[index] = {host: addr[0], port: addr[1]};
});

var redisClient = sentinel.createClient(endpoints, process.env.REDIS_SENTINEL_MASTER);
