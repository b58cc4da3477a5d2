"""How clients connect to a PostgreSQL service, by language; `{URL}` and the like are filled in with live values."""

from collections.abc import Mapping

SNIPPETS: Mapping[str, str] = {
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
