"""Run all benchmarks, or those that are named, one after another."""

import signal
import sys

from benchmarks import (
    bench_apps,
    bench_dashboard,
    bench_deploys,
    bench_failover,
    bench_false_failover,
    bench_hosts,
    bench_idle,
    bench_in_place,
    bench_postgres,
    bench_switchover,
)

PARTS = {
    "failover": bench_failover.main,
    "apps": bench_apps.main,
    "deploys": bench_deploys.main,
    "idle": bench_idle.main,
    "in-place": bench_in_place.main,
    "false-failover": bench_false_failover.main,
    "postgres": bench_postgres.main,
    "switchover": bench_switchover.main,
    "dashboard": bench_dashboard.main,
    "hosts": bench_hosts.main,
}


def main() -> None:
    """`python -m benchmarks [PART] [OPTIONS]`; without a part, all of them, and only `--runs N` is understood."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is taken down
    argv = sys.argv[1:]
    if argv and not argv[0].startswith("-"):
        if argv[0] not in PARTS:
            sys.exit(f"error: {argv[0]} is no benchmark; there are {', '.join(PARTS)}")
        PARTS[argv[0]](argv[1:])
        return
    for part in PARTS.values():
        part(argv)


if __name__ == "__main__":
    main()
