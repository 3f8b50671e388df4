#!/usr/bin/env bash
# Builds the image of examples/hello.yaml from busybox-static: hello-image.sh SKIFF VERSION [skiff image options]
#
# It serves its version on /, and on /cgi-bin/whoami the name of the pod that answers.
set -euo pipefail
skiff=$1 version=$2
shift 2
rootfs=$(mktemp -d)
trap 'rm -rf "$rootfs"' EXIT
chmod 0755 "$rootfs"
mkdir -p "$rootfs"/{bin,etc,tmp,www/cgi-bin}
cp "$(command -v busybox)" "$rootfs/bin/busybox"
for applet in sh httpd hostname cat echo sleep wget nslookup ls id env true false kill ps nc grep head tar stty base64 readlink mkdir; do
    ln -s busybox "$rootfs/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$rootfs/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$rootfs/etc/group"
cat >"$rootfs/www/index.html" <<HTML
<!doctype html>
<title>Skiff</title>
<h1>Hello from Skiff</h1>
<p>This page is served by a Deployment of three pods. Version $version.</p>
<p><a href="/cgi-bin/whoami">Which pod answers?</a></p>
HTML
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nhostname\n' >"$rootfs/www/cgi-bin/whoami"
printf '%s\n' "$version" >"$rootfs/www/version"
# The shell is process 1 of its container: it must handle SIGTERM itself, the kernel ignores it there by default.
printf '#!/bin/sh\necho "hello version %s starts"\ntrap "exit 0" TERM\nhttpd -f -p 8080 -h /www &\nwait\n' \
    "$version" >"$rootfs/bin/serve"
chmod 0755 "$rootfs/bin/serve" "$rootfs/www/cgi-bin/whoami"
"$skiff" image build --from-rootfs "$rootfs" --tag "skiff.local/hello:$version" --cmd /bin/serve --env PATH=/bin "$@"
