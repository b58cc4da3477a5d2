"""How clients connect to a PostgreSQL service, by language; `{URL}` and the like are filled in with live values.

Each language has forms, as Redis's have: for a group the endpoint's and then the multi-host one, else the first alone.
"""

from collections.abc import Mapping

_ENDPOINT: Mapping[str, str] = {
    "python": """\
# psycopg 3
import psycopg

with psycopg.connect("{URL}", connect_timeout=5) as connection:
    print(connection.execute("select current_user, now()").fetchone())

# SQLAlchemy: pool_pre_ping replaces connections that a failover has cut
from sqlalchemy import create_engine

engine = create_engine("postgresql+psycopg://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}", pool_pre_ping=True)

# Django, in settings.py: health checks replace connections that a failover has cut
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "{HOST}",
        "PORT": "{PORT}",
        "NAME": "{NAME}",
        "USER": "{USER}",
        "PASSWORD": "{PASSWORD}",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5},
    }
}
""",
    "node": """\
// node-postgres; without the listener, a connection that a failover cuts would end the process
const { Pool } = require("pg");

const pool = new Pool({ connectionString: "{URL}", connectionTimeoutMillis: 5000 });
pool.on("error", (error) => console.error("idle connection lost:", error.message));

pool.query("select current_user, now()").then((result) => console.log(result.rows[0]));
""",
    "ruby": """\
# ActiveRecord (in Rails, put the URL into config/database.yml); lost connections are replaced
require "active_record"

ActiveRecord::Base.establish_connection("{URL}?connect_timeout=5")
puts ActiveRecord::Base.connection.select_value("select current_user")
""",
    "go": """\
// pgx
package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	pool, err := pgxpool.New(context.Background(), "{URL}?connect_timeout=5")
	if err != nil {
		panic(err)
	}
	var user string
	if err := pool.QueryRow(context.Background(), "select current_user").Scan(&user); err != nil {
		panic(err)
	}
	fmt.Println(user)
}
""",
    "java": """\
// JDBC, driver org.postgresql:postgresql
import java.sql.DriverManager;

class Connect {
    public static void main(String[] words) throws Exception {
        var url = "jdbc:postgresql://{HOST}:{PORT}/{NAME}?user={USER}&password={PASSWORD}&connectTimeout=5";
        try (var connection = DriverManager.getConnection(url);
                var rows = connection.createStatement().executeQuery("select current_user")) {
            rows.next();
            System.out.println(rows.getString(1));
        }
    }
}
""",
    "shell": """\
PGCONNECT_TIMEOUT=5 psql "{URL}" -c 'select current_user, now()'
""",
}

_SERVERS: Mapping[str, str] = {
    "python": """
# Or the servers themselves (libpq tries them in turn, and stays with the one that takes writes): for a client that must
# not depend on the endpoint. A server that hangs costs each new connection its connect_timeout.
EVERYWHERE = "postgresql://{USER}:{PASSWORD}@{HOSTS}/{NAME}?target_session_attrs=read-write&connect_timeout=2"

with psycopg.connect(EVERYWHERE) as connection:
    print(connection.execute("select inet_server_addr()").fetchone())

engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(EVERYWHERE), pool_pre_ping=True)

hosts, ports = zip(*(server.split(":") for server in "{HOSTS}".split(",")))
DATABASES["default"] |= {
    "HOST": ",".join(hosts),
    "PORT": ",".join(ports),
    "OPTIONS": {"connect_timeout": 2, "target_session_attrs": "read-write"},
}
""",
    "node": """
// node-postgres takes one host. Without the endpoint it has to look for the server that takes writes by itself:
const { Client } = require("pg");

async function primary() {
  for (const server of "{HOSTS}".split(",")) {
    const url = `postgresql://{USER}:{PASSWORD}@${server}/{NAME}`;
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 });
    try {
      await client.connect();
      const { rows } = await client.query("select pg_is_in_recovery() as standby");
      if (!rows[0].standby) return client;
      await client.end();
    } catch (error) {
      console.error(server, error.message);
    }
  }
  throw new Error("no server takes writes now");
}
""",
    "ruby": """
# Or the servers themselves (libpq tries them in turn, and stays with the one that takes writes): for a client that must
# not depend on the endpoint. A server that hangs costs each new connection its connect_timeout.
servers = "{HOSTS}".split(",").map { |server| server.split(":") }
ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: servers.map(&:first).join(","), port: servers.map(&:last).join(","),
  database: "{NAME}", username: "{USER}", password: "{PASSWORD}",
  target_session_attrs: "read-write", connect_timeout: 2
)
puts ActiveRecord::Base.connection.select_value("select inet_server_addr()")
""",
    "go": """
// Or the servers themselves (pgx tries them in turn, and stays with the one that takes writes): for a client that must
// not depend on the endpoint. A server that hangs costs each new connection its connect_timeout.
const everywhere = "postgresql://{USER}:{PASSWORD}@{HOSTS}/{NAME}?target_session_attrs=read-write&connect_timeout=2"
""",
    "java": """
// Or the servers themselves (the driver tries them in turn, and stays with the primary): for a client that must not
// depend on the endpoint. A server that hangs costs each new connection its connectTimeout.
interface Everywhere {
    String URL = "jdbc:postgresql://{HOSTS}/{NAME}?user={USER}&password={PASSWORD}"
            + "&targetServerType=primary&connectTimeout=2";
}
""",
    "shell": """
# Or the servers themselves (libpq tries them in turn, and stays with the one that takes writes): without the endpoint
psql "postgresql://{USER}:{PASSWORD}@{HOSTS}/{NAME}?target_session_attrs=read-write&connect_timeout=2" \\
    -c 'select inet_server_addr()'
""",
}

SNIPPETS: Mapping[str, tuple[str, str]] = {
    language: (alone + _SERVERS[language], alone) for language, alone in _ENDPOINT.items()
}
