#!/usr/bin/env bash
# Starts the stack, waits until it is healthy, and prints how to reach it.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${COMPOSE_ENV_FILES:-.env}

if ! docker compose version >/dev/null 2>&1; then
    echo "the tracking server needs Docker with Compose 2.24 or newer (docker compose version)" >&2
    exit 2
fi
deploy/secrets.sh
docker compose up --detach --wait
address=$(docker compose port server 5000)
cat <<TEXT
The tracking server is at http://$address: user admin, and the password is ADMIN_PASSWORD in $file. For sweeps:

    export MLFLOW_TRACKING_URI=http://$address MLFLOW_TRACKING_USERNAME=admin
    export MLFLOW_TRACKING_PASSWORD=\$(sed -n 's/^ADMIN_PASSWORD=//p' $file)

Its UI: http://$address/#/experiments?workflowType=machine_learning (with these variables set, \`make ui\` opens the newest sweep)
TEXT
if proxy=$(docker compose port proxy 443 2>/dev/null); then # the profile `tls`
    host=$(docker compose exec -T proxy printenv HOST_NAME)
    port=${proxy##*:}
    echo
    if [ "$port" != 443 ]; then host=$host:$port; fi
    echo "On other machines, set MLFLOW_TRACKING_URI to https://$host, and sign in with your own name and password."
fi
