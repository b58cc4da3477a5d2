"""Snippets that connect to Redis, by language: through the Sentinels where there are some, else by the endpoint's URL.

Each language has forms, the most capable first; the first whose placeholders all have values is shown.
"""

_PYTHON_SENTINEL = """\
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

addresses = [tuple(address.split(":")) for address in "{SENTINEL_LIST}".split(",")]
# Who does not answer may be on a lost host: a Sentinel is asked once, for a second; then the next one.
once = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
sentinel = Sentinel(addresses, sentinel_kwargs=once<SENTINEL>)
redis = sentinel.master_for("{SENTINEL_MASTER}", socket_timeout=2, socket_connect_timeout=1<NODE>)
redis.set("hello", "world")
"""

_NODE_SENTINEL = """\
const Redis = require('ioredis');

const redis = new Redis({
  sentinels: '{SENTINEL_LIST}'.split(',').map((address) => {
    const [host, port] = address.split(':');
    return { host, port };
  }),
  name: '{SENTINEL_MASTER}',<BOTH>
});
redis.set('hello', 'world').then(() => redis.quit());
"""

_RUBY_SENTINEL = """\
require 'redis'

sentinels = '{SENTINEL_LIST}'.split(',').map do |address|
  host, port = address.split(':')
  { host: host, port: port<EACH> }
end
redis = Redis.new(url: 'redis://<USER>{SENTINEL_MASTER}', sentinels: sentinels, role: :master)
redis.set('hello', 'world')
"""

_GO_SENTINEL = """\
package main

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

func main() {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    "{SENTINEL_MASTER}",
		SentinelAddrs: strings.Split("{SENTINEL_LIST}", ","),<BOTH>
	})
	if err := client.Set(context.Background(), "hello", "world", 0).Err(); err != nil {
		panic(err)
	}
}
"""

_JAVA_SENTINEL = """\
import java.util.Set;
import redis.clients.jedis.JedisSentinelPool;

class Hello {
    public static void main(String[] args) {
        var sentinels = Set.of("{SENTINEL_LIST}".split(","));
        try (var pool = new JedisSentinelPool("{SENTINEL_MASTER}", sentinels<BOTH>); var redis = pool.getResource()) {
            redis.set("hello", "world");
        }
    }
}
"""

_PYTHON_URL = """\
import redis

client = redis.Redis.from_url("{URL}")
client.set("hello", "world")
"""

_NODE_URL = """\
const Redis = require('ioredis');

const redis = new Redis('{URL}');
redis.set('hello', 'world').then(() => redis.quit());
"""

_RUBY_URL = """\
require 'redis'

redis = Redis.new(url: '{URL}')
redis.set('hello', 'world')
"""

_GO_URL = """\
package main

import (
	"context"

	"github.com/redis/go-redis/v9"
)

func main() {
	options, err := redis.ParseURL("{URL}")
	if err != nil {
		panic(err)
	}
	if err := redis.NewClient(options).Set(context.Background(), "hello", "world", 0).Err(); err != nil {
		panic(err)
	}
}
"""

_JAVA_URL = """\
import redis.clients.jedis.JedisPooled;

class Hello {
    public static void main(String[] args) {
        try (var redis = new JedisPooled("{URL}")) {
            redis.set("hello", "world");
        }
    }
}
"""


def _forms(sentinel: str, url: str, **passwords: str) -> tuple[str, ...]:
    """With a password, without one, and by URL; `passwords` fill the gaps `<NAME>` of the first form."""
    guarded = plain = sentinel
    for gap, text in passwords.items():
        guarded, plain = guarded.replace(f"<{gap}>", text), plain.replace(f"<{gap}>", "")
    return guarded, plain, url


CONNECT = {
    "python": _forms(
        _PYTHON_SENTINEL,
        _PYTHON_URL,
        SENTINEL=' | {"password": "{PASSWORD}"}',
        NODE=', password="{PASSWORD}"',
    ),
    "node": _forms(_NODE_SENTINEL, _NODE_URL, BOTH="\n  password: '{PASSWORD}',\n  sentinelPassword: '{PASSWORD}',"),
    "ruby": _forms(_RUBY_SENTINEL, _RUBY_URL, EACH=", password: '{PASSWORD}'", USER=":{PASSWORD}@"),
    "go": _forms(
        _GO_SENTINEL, _GO_URL, BOTH='\n\t\tPassword:         "{PASSWORD}",\n\t\tSentinelPassword: "{PASSWORD}",'
    ),
    "java": _forms(_JAVA_SENTINEL, _JAVA_URL, BOTH=', "{PASSWORD}", "{PASSWORD}"'),
    "shell": ("redis-cli -u '{URL}' set hello world\n",),
}
"""Language -> forms. Jedis takes (name, sentinels, password, sentinelPassword); the others name their options."""
