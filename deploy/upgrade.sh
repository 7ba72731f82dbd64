#!/usr/bin/env bash
# Upgrades to the versions in docker-compose.yml and deploy/server/requirements.txt: backs up, builds images, migrates databases.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${BACKUPS:-backups}/$(date -u +%Y%m%dT%H%M%SZ)-before-upgrade

deploy/secrets.sh
deploy/backup.sh "$folder"
trap 'echo "the upgrade failed; go back to the old files, then: make restore backup=$folder replace=yes" >&2' ERR
docker compose build server
docker compose stop server
docker compose up --detach --wait database
# shellcheck disable=SC2016 # the container knows its variables
docker compose run --rm --no-deps -T server sh -c '
    mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI" &&
    python -m mlflow.server.auth db upgrade --url "${MLFLOW_BACKEND_STORE_URI}_auth"'
docker compose up --detach --wait
echo "upgraded; the backup from before is $folder"
