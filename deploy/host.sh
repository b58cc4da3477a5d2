#!/bin/sh
# Makes a Debian machine a host of a Docker Swarm on which Everup runs environments. As root:
#
#   sh deploy/host.sh first [ADDRESS]         on the first machine, from a checkout of Everup
#   sh deploy/host.sh join USER@FIRST [ADDRESS]    on each other one; USER may use Docker on the first, and lets ssh in
#
# ADDRESS is the machine's own on the network of the hosts; without it, that by which it reaches the others. What is
# there already is left alone: a second call changes nothing. EVERUP_IMAGE names another image than the newest `everup`.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

packages() {
    echo "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
}

# need PROGRAM PACKAGE...: install packages where a program is missing
need() {
    command -v "$1" >/dev/null && return
    shift
    packages "$@"
}

docker_runs() {
    need dockerd docker.io ca-certificates iptables apparmor
    docker info >/dev/null 2>&1 || systemctl enable --now docker || fail "Docker does not start: journalctl -u docker"
}

in_swarm() {
    [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" = active ]
}

# own ADDRESS: the address of this machine from which it reaches another
own() {
    ip -o -4 route get "$1" | sed -n 's/.* src \([0-9.]*\).*/\1/p'
}

first() {
    root=$(cd "$(dirname "$0")/.." && pwd)
    [ -f "$root/Containerfile" ] || fail "$root is no checkout of Everup"
    docker_runs
    need ip iproute2
    need make make
    python3 -c 'import ensurepip' 2>/dev/null || packages python3-venv
    in_swarm || docker swarm init --advertise-addr "${1:-$(own 192.0.2.1)}" >/dev/null
    make -C "$root" install image
    ln -sf "$root/.venv/bin/everup" /usr/local/bin/everup
    here=$(docker info --format '{{.Swarm.NodeAddr}}')
    echo "this host is $here; on each other one, as root (USER may use Docker here):"
    echo "  ssh USER@$here cat $root/deploy/host.sh | sh -s join USER@$here"
    echo "then here, beside an everup.yaml with engine: swarm:"
    echo "  everup up"
}

# the_id HOW...: the ID of the image, as `HOW docker` tells it
the_id() {
    "$@" docker image inspect --format "'{{.Id}}'" "$image" 2>/dev/null | tr -d "'"
}

join() {
    from=${1:?name the first host: USER@FIRST}
    need ssh openssh-client
    need ip iproute2
    docker_runs
    image=${EVERUP_IMAGE:-$(ssh "$from" docker image ls --format "'{{.Repository}}:{{.Tag}}'" everup | head -n 1)}
    [ -n "$image" ] || fail "$from has no image of Everup; there: make image"
    if [ "$(the_id env)" != "$(the_id ssh "$from")" ]; then
        echo "fetching $image from $from"
        ssh "$from" docker save "$image" | docker load --quiet
        [ "$(the_id env)" = "$(the_id ssh "$from")" ] || fail "$image did not arrive from $from"
    fi
    if ! in_swarm; then
        leader=$(ssh "$from" docker info --format "'{{.Swarm.NodeAddr}}'")
        token=$(ssh "$from" docker swarm join-token --quiet manager)
        docker swarm join --token "$token" --advertise-addr "${2:-$(own "$leader")}" "$leader:2377"
    fi
    docker node ls
}

[ "$(id -u)" = 0 ] || fail "run it as root: it installs Docker"
case "${1:-}" in
    first | join) "$@" ;;
    *) fail "say first, or join USER@FIRST" ;;
esac
