#!/usr/bin/env bash
# Installs the Debian packages that building, running and testing need, where they are missing, and any others named
# as arguments: COMMAND:PACKAGE.
set -euo pipefail

# command -> package: what building needs (protoc: the CRI messages), what the node calls at run time, what tests need.
wanted="protoc:protobuf-compiler gcc:gcc nft:nftables iptables:iptables ip:iproute2 busybox:busybox-static curl:curl
        docker-registry:docker-registry skopeo:skopeo runc:runc crun:crun
        /usr/lib/cni/bridge:containernetworking-plugins $*"

missing=()
for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "deps: please install with your package manager: ${missing[*]}" >&2
    exit 1
fi
echo "deps: installing ${missing[*]}"
sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
