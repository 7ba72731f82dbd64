#!/usr/bin/env bash
# Puts back what a backup holds, in place of what is there: deploy/restore.sh FOLDER [yes, to replace]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-}
replace=${2:-no}
file=${COMPOSE_ENV_FILES:-.env}

if [ ! -f "$folder/SHA256SUMS" ]; then
    echo "${folder:-no folder}: not a backup, which has a file SHA256SUMS; name one with make restore backup=FOLDER" >&2
    exit 2
fi
(cd "$folder" && sha256sum --check --quiet SHA256SUMS)
if [ ! -s "$file" ]; then
    install -m 600 "$folder/env" "$file"
fi
deploy/secrets.sh
docker compose up --detach --wait database

# There are no tables before the server has started once.
count='SELECT count(*) FROM runs'
there=$(docker compose exec -T database psql --username=postgres -At --command="$count" mlflow 2>/dev/null || echo 0)
if [ "$there" != 0 ] && [ "$replace" != yes ]; then
    echo "the stack holds $there runs, which a restore would remove; make a backup of them, then say replace=yes" >&2
    exit 2
fi

docker compose stop server
for database in mlflow_auth mlflow; do
    docker compose exec -T database dropdb --username=postgres --if-exists --force "$database"
    docker compose exec -T database createdb --username=postgres --owner=mlflow "$database"
    docker compose exec -T database pg_restore --username=postgres --exit-on-error --dbname="$database" <"$folder/$database.dump"
done
docker compose run --rm --no-deps -T server sh -c \
    'find /artifacts -mindepth 1 -delete && tar --extract --directory=/artifacts' <"$folder/artifacts.tar"
docker compose up --detach --wait
if ! grep -q "$(grep '^ADMIN_PASSWORD=' "$folder/env")" "$file"; then
    echo "users and passwords are those of the backup: its admin password is in $folder/env"
fi
echo "$folder is restored"
