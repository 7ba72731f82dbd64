#!/usr/bin/env bash
# Provides a Docker engine with Compose: the running one, or one that is installed and started here (Debian, as root).
#     engine.sh check    fails, with the reason on one line, if there can be none
#     engine.sh start    starts one if necessary
set -euo pipefail

ready() { docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }

check() {
    if ready; then return; fi
    local reason=
    if ! grep -qw overlay /proc/filesystems 2>/dev/null; then reason="this kernel has no overlay file system for one"; fi
    if ! command -v apt-get >/dev/null; then reason="there is no apt-get to install one"; fi
    if [ "$(id -u)" != 0 ]; then reason="only root can start one"; fi
    if [ -n "$reason" ]; then
        echo "no Docker engine with Compose answers, and $reason"
        return 1
    fi
}

# Debian 12 has only Compose 1, which cannot read this compose file; Debian 13's Compose runs here too.
compose_of_trixie() {
    local folder
    folder=$(mktemp -d)
    mkdir -p "$folder/lists/partial"
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$key] http://deb.debian.org/debian trixie main" >"$folder/sources"
    local options=(-o APT::Sandbox::User=root -o Dir::Etc::SourceParts=/dev/null)
    options+=(-o "Dir::Etc::SourceList=$folder/sources" -o "Dir::State::Lists=$folder/lists")
    (cd "$folder" && apt-get "${options[@]}" update -qq && apt-get "${options[@]}" download -qq docker-compose)
    dpkg-deb --extract "$folder"/docker-compose_*.deb "$folder/package"
    install -D "$folder/package/usr/libexec/docker/cli-plugins/docker-compose" /usr/local/lib/docker/cli-plugins/docker-compose
    rm -r "$folder"
}

start() {
    check
    if ! command -v dockerd >/dev/null; then
        echo "Installing a Docker engine with apt-get."
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends docker.io iptables >/dev/null
    fi
    if ! docker compose version >/dev/null 2>&1; then
        compose_of_trixie
    fi
    if ! docker info >/dev/null 2>&1; then
        setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &
        for _ in $(seq 60); do
            if docker info >/dev/null 2>&1; then break; fi
            sleep 1
        done
        docker info >/dev/null || { tail -20 /var/log/dockerd.log >&2; return 1; }
    fi
    echo "Docker $(docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short)"
}

"${1:-check}"
