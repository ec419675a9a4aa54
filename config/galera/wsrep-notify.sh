#!/bin/sh
# wsrep_notify_cmd = /usr/local/bin/wsrep-notify.sh: tells the proxies at once that the cluster's view has changed.
#
# Galera calls it with --status, --uuid, --primary, --index and --members, and waits for it: two seconds at most are given
# to all proxies together, and a proxy that does not answer is no reason to fail. /etc/sqlproxy/notify.conf says who they are:
#
#   SQLPROXY_ADMIN_URLS="http://10.0.0.20:8989 http://10.0.0.21:8989"
#   SQLPROXY_ADMIN_TOKEN_FILE=/etc/sqlproxy/admin.token
set -u
config="${SQLPROXY_NOTIFY_CONF:-/etc/sqlproxy/notify.conf}"
# shellcheck disable=SC1090 # the administrator's file
[ -r "$config" ] && . "$config"
token=""
if [ -n "${SQLPROXY_ADMIN_TOKEN_FILE:-}" ] && [ -r "$SQLPROXY_ADMIN_TOKEN_FILE" ]; then
  token="$(cat "$SQLPROXY_ADMIN_TOKEN_FILE")"
fi
status=""
primary=""
while [ $# -gt 1 ]; do
  case "$1" in
    --status) status="$2" ;;
    --primary) primary="$2" ;;
  esac
  shift 2
done

# Only plain words go into the body, so that nothing needs quoting.
word() {
  case "$1" in
    *[!A-Za-z0-9._-]*) printf '' ;;
    *) printf '%s' "$1" ;;
  esac
}
body="{\"source\": \"$(word "$(hostname)")\", \"status\": \"$(word "$status")\", \"primary\": \"$(word "$primary")\"}"

for url in ${SQLPROXY_ADMIN_URLS:-http://127.0.0.1:8989}; do
  # The token goes in by standard input: what stands on the command line is there for everybody to read.
  printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --silent --output /dev/null --max-time 2 --config - --header 'Content-Type: application/json' \
      --data "$body" "$url/v1/notify" &
done
wait
exit 0
