#!/bin/bash
# What the entry point of the postgres image does, as far as docker-compose.yml counts on it.
set -euo pipefail
export POSTGRES_USER=postgres

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    chmod 700 "$PGDATA"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")
    printf "\nhost all all all scram-sha-256\n" >>"$PGDATA/pg_hba.conf"
    printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    for file in /docker-entrypoint-initdb.d/*.sh; do "$file"; done
    pg_ctl --wait --mode=fast stop
fi
exec "$@"
