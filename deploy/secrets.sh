#!/usr/bin/env bash
# Writes missing secrets to .env. Existing ones stay, because the database was set up with them.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
file=${COMPOSE_ENV_FILES:-.env}
volume=${COMPOSE_PROJECT_NAME:-digitsweep}_database

if ! grep -qs '^DATABASE_PASSWORD=' "$file" && docker volume inspect "$volume" >/dev/null 2>&1; then
    echo "$file: DATABASE_PASSWORD is missing, but the volume $volume was made with one; put the file back" \
        "(each backup has it as env)" >&2
    exit 2
fi

touch "$file"
chmod 600 "$file"
for name in ADMIN_PASSWORD SERVER_SECRET_KEY DATABASE_PASSWORD DATABASE_ADMIN_PASSWORD; do
    if ! grep -q "^$name=" "$file"; then
        printf '%s=%s\n' "$name" "$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')" >>"$file"
    fi
done
