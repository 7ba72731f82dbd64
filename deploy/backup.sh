#!/usr/bin/env bash
# Copies the stack into a new folder, while it runs: deploy/backup.sh [FOLDER]
# The order makes the copy consistent. Artifacts come last, because a run ends, and a version is created, only after its files
# exist. Users come first: a permission for an experiment that the copy lacks would apply to the next one with its number.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
folder=${1:-${BACKUPS:-backups}/$(date -u +%Y%m%dT%H%M%SZ)}
part=$folder.part

if [ -e "$folder" ]; then
    echo "$folder is there already; name another folder, or none" >&2
    exit 2
fi
rm -rf "$part"
mkdir -p "$part"
for database in mlflow_auth mlflow; do
    docker compose exec -T database pg_dump --username=postgres --format=custom "$database" >"$part/$database.dump"
done
# tar exits with 1 if a folder got a new file meanwhile, which is fine here. Unfinished uploads are left out.
docker compose exec -T server sh -c \
    "tar --create --directory=/artifacts --exclude='.artifact.uploading.*' . || [ \$? = 1 ]" >"$part/artifacts.tar"
cp "${COMPOSE_ENV_FILES:-.env}" "$part/env"
(cd "$part" && sha256sum -- * >SHA256SUMS)
mv "$part" "$folder"
echo "$folder: $(du -sh "$folder" | cut -f1); it holds the secrets too, so keep it as safe as .env"
