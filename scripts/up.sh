#!/usr/bin/env bash
# Starts a cluster of one node in the background and serves examples/hello.yaml on it: up.sh SKIFF
set -euo pipefail
cd "$(dirname "$0")/.."
skiff=$(realpath "$1")
if [ "$(id -u)" -ne 0 ]; then
    echo "up: a node makes containers, interfaces and rules, which needs root: run 'sudo -E make up'" >&2
    exit 1
fi
kubeconfig=/etc/skiff/kubeconfig
"$skiff" server --detach
export KUBECONFIG=$kubeconfig

kubectl=$(command -v kubectl || true)
if [ -z "$kubectl" ]; then
    scripts/tools.sh
    kubectl=$PWD/target/tools/kubectl
fi
echo "up: building the image of the example"
scripts/hello-image.sh "$skiff" 1 >/dev/null
echo "up: applying examples/hello.yaml"
"$kubectl" apply -f examples/hello.yaml
"$kubectl" rollout status deployment/hello --timeout=60s
node=$("$kubectl" get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
curl -fsS --retry 10 --retry-connrefused --retry-delay 1 -o /dev/null "http://$node:30080/"
cat <<TXT

The cluster runs. The example answers on  http://$node:30080/
Go on with                                KUBECONFIG=$kubeconfig $kubectl get pods -A
Stop it and remove every trace with       make down
TXT
