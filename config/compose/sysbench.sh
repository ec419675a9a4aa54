#!/bin/sh
# sysbench through the proxy: docker compose --profile sysbench run --rm sysbench
set -eu
run() {
  sysbench "$TEST" --mysql-host=proxy --mysql-port=4006 --mysql-user=app --mysql-password=app --mysql-db=app \
    --tables=4 --table-size=10000 --threads="$THREADS" --time="$SECONDS_TO_RUN" --report-interval=5 \
    --mysql-ignore-errors=1213,1020,1205 "$@"
}
run cleanup >/dev/null 2>&1 || true
run --threads=1 prepare
run run
