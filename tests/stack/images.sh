#!/usr/bin/env bash
# Pulls the images that the stack is based on. If that fails, builds stand-ins from Debian's packages under the same names (label
# digitsweep.stand-in). Then builds the project's own images.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=tests/stack/images
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs a command silently; shows its output if it fails.
quietly() { "$@" >"$log" 2>&1 || { tail -40 "$log" >&2; return 1; }; }

have() { docker image inspect "$1" >/dev/null 2>&1 || timeout 120 docker pull --quiet "$1" >/dev/null 2>&1; }

debian() { # SUITE
    if have "debian:$1-slim"; then return; fi
    if ! command -v debootstrap >/dev/null; then
        quietly apt-get install -qq --yes --no-install-recommends debootstrap
    fi
    local root
    root=$(mktemp -d)
    quietly debootstrap --variant=minbase "$1" "$root" http://deb.debian.org/debian
    # This machine's certificates, so that pip in the image reaches the package index as it does here.
    install -D --mode=644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/this-machine.crt"
    rm -f "$root"/var/cache/apt/archives/*.deb
    tar --create --directory="$root" --one-file-system . | docker import --change 'CMD ["bash"]' - "debian:$1-slim" >/dev/null
    rm -r --one-file-system "$root"
}

stand_in() { # NAME FILE SUITE
    if have "$1"; then return; fi
    echo "$1 cannot be pulled: a stand-in is made of Debian's packages"
    debian "$3"
    DOCKER_BUILDKIT=0 quietly docker build --label digitsweep.stand-in=yes --tag "$1" --file "$build/$2.Dockerfile" "$build"
}

named() { sed -n "s/.*\($1:[^ ]*\).*/\1/p" "$2" | head -1; }

stand_in "$(named python Dockerfile)" python bookworm
stand_in "$(named postgres docker-compose.yml)" postgres trixie
stand_in "$(named caddy docker-compose.yml)" caddy trixie

for name in ADMIN_PASSWORD SERVER_SECRET_KEY DATABASE_PASSWORD DATABASE_ADMIN_PASSWORD; do
    export "$name=not used in a build"
done
echo "Building the images of the project: minutes, the first time."
quietly docker compose build
quietly make image
quietly make cluster-image
