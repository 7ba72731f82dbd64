#!/usr/bin/env bash
# Restores a backup and replaces everything in the stack: deploy/restore.sh FOLDER [yes]
# Without `yes`, the stack must be empty: databases without a table, and no artifacts.
set -euo pipefail
shopt -s inherit_errexit # otherwise a failure inside $() is ignored
cd "$(dirname "$0")/.."
folder=${1:-}
replace=${2:-no}
file=${COMPOSE_ENV_FILES:-.env}

# Queries a database. Any error ends the restore, because it leaves open whether the stack is empty.
ask() {
    docker compose exec -T database psql --no-psqlrc --username=postgres --set=ON_ERROR_STOP=1 --tuples-only --no-align \
        --command="$2" "$1" </dev/null
}

# "runs: 12, users beside admin: 2": everything in the stack that somebody could miss; empty if there is nothing.
holds() {
    local databases database tables name rows files found=()
    databases=$(ask postgres "SELECT datname FROM pg_database WHERE datname IN ('mlflow', 'mlflow_auth') ORDER BY 1")
    for database in $databases; do
        tables=$(ask "$database" "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
        for name in experiments runs registered_models model_versions users; do
            if grep -qx "$name" <<<"$tables"; then
                rows=$(ask "$database" "SELECT count(*) FROM $name $([ $name != users ] || echo "WHERE username <> 'admin'")")
                if [ "$rows" != 0 ]; then found+=("$(sed 's/_/ /; s/users/users beside admin/' <<<"$name"): $rows"); fi
            fi
        done
        if [ -n "$tables" ]; then found+=("tables in $database: $(wc -l <<<"$tables")"); fi
    done
    files=$(docker compose run --rm --no-deps -T server find /artifacts -mindepth 1 -print -quit </dev/null)
    if [ -n "$files" ]; then found+=(artifacts); fi
    if [ ${#found[@]} != 0 ]; then printf '%s, ' "${found[@]}" | sed 's/, $//'; fi
}

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

if [ "$replace" != yes ]; then
    trap 'echo "cannot tell what the stack holds, so nothing was changed; mend the error above, or say replace=yes" >&2' ERR
    there=$(holds)
    trap - ERR
    if [ -n "$there" ]; then
        echo "the stack holds $there; a restore would remove all of it. Keep it with make backup, then say replace=yes" >&2
        exit 2
    fi
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
