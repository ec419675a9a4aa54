#!/bin/bash
# One Galera node of docker-compose.yml. The node with BOOTSTRAP begins a cluster, but only when no other node is there:
# after a crash it joins the rest, which has gone on without it.
set -euo pipefail

someone_is_there() {
  local peer
  for peer in $PEERS; do
    if [ "$peer" != "$(hostname)" ] && timeout 1 bash -c "exec 3<>/dev/tcp/$peer/3306" 2>/dev/null; then
      return 0
    fi
  done
  return 1
}

bootstrap=()
if [ "${BOOTSTRAP:-no}" = yes ] && ! someone_is_there; then
  bootstrap=(--wsrep-new-cluster)
  # Everything was stopped at once: somebody has to begin. With data worth keeping, let the newest node do it.
  sed -i 's/^safe_to_bootstrap: 0/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat 2>/dev/null || true
fi

exec docker-entrypoint.sh mariadbd \
  --binlog-format=ROW --innodb-autoinc-lock-mode=2 --innodb-flush-log-at-trx-commit=1 \
  --wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so \
  --wsrep-cluster-name=demo --wsrep-cluster-address="gcomm://${PEERS// /,}" \
  --wsrep-node-name="$(hostname)" --wsrep-node-address="$(hostname)" \
  --wsrep-node-incoming-address="$(hostname):3306" \
  --wsrep-sst-method=mariabackup --wsrep-sst-auth="root:$MARIADB_ROOT_PASSWORD" "${bootstrap[@]}"
