#!/usr/bin/env bash
# Runs a command as root on a machine of its own: guest.sh COMMAND [ARGUMENT...]
#
# The machine is a virtual one with Debian's kernel and systemd: cgroup v2, swap, AppArmor, servers of NFS and of iSCSI,
# containerd. It has this checkout under its own path, and forgets what is written elsewhere. It is made once, under
# target/guest; GUEST_MEMORY is its memory in MiB. No part of it needs hardware that virtualizes, so it is slow.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/deps.sh qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mke2fs:e2fsprogs
guest=target/guest
packages="systemd systemd-sysv dbus linux-image-amd64 kmod udev util-linux e2fsprogs procps ca-certificates
          iproute2 nftables iptables busybox-static docker-registry skopeo runc crun containerd docker.io
          containernetworking-plugins apparmor nfs-kernel-server nfs-common tgt open-iscsi curl"

# What the guest does when it is up, and how it is told.
init() {
    cat <<'INIT'
#!/bin/bash
# Runs the job that the host left in the checkout, and switches the machine off.
checkout=$(sed 's/.*skiff.checkout=\([^ ]*\).*/\1/' /proc/cmdline)
modprobe 9pnet_virtio
mkdir -p "$checkout"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=mmap checkout "$checkout"
udevadm settle
cd "$checkout"
bash target/guest/job >/dev/virtio-ports/output 2>&1 </dev/null
echo $? >target/guest/status
sync
poweroff -f
INIT
}
service() {
    cat <<'UNIT'
[Unit]
Description=The job that the host wants done
After=basic.target dbus.service

[Service]
ExecStart=/usr/local/sbin/guest
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
UNIT
}

make_image() {
    echo "guest: making a machine of Debian packages, which takes some minutes"
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    # shellcheck disable=SC2086
    mmdebstrap --quiet --variant=minbase --include="$(echo $packages | tr ' ' ,)" --aptopt='Acquire::Languages "none"' \
        bookworm "$root"
    echo guest >"$root/etc/hostname"
    echo "/dev/vda / ext4 defaults 0 1" >"$root/etc/fstab"
    init >"$root/usr/local/sbin/guest"
    chmod 0755 "$root/usr/local/sbin/guest"
    service >"$root/etc/systemd/system/guest.service"
    # The tests start these themselves, each with what it needs.
    for unit in containerd docker docker-registry nfs-server tgt rpc-statd-notify apt-daily.timer apt-daily-upgrade.timer; do
        rm -f "$root"/etc/systemd/system/*.wants/"$unit"{,.service,.socket}
    done
    ln -s ../guest.service "$root/etc/systemd/system/multi-user.target.wants/guest.service"
    rm -rf $guest
    mkdir -p $guest
    cp "$root"/boot/vmlinuz-* $guest/kernel
    cp "$root"/boot/initrd.img-* $guest/initrd
    truncate -s 12G $guest/disk.new
    mke2fs -q -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" $guest/disk.new
    sha256sum <scripts/guest.sh >$guest/made-by
    mv $guest/disk.new $guest/disk
    rm -rf "$root"
    trap - EXIT
}

[ -f $guest/disk ] && [ "$(cat $guest/made-by)" = "$(sha256sum <scripts/guest.sh)" ] || make_image

{
    # The lists of what the host asked for, word by word.
    env | sed -n 's/^\(SKIFF_[A-Z_]*\)=.*/\1/p' | while read -r name; do printf 'export %s=%q\n' "$name" "${!name}"; done
    echo 'export SKIFF_GUEST=1 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    # Programs are read page by page: from the disk that is quick, and the debug sections are many.
    echo '[ -z "${SKIFF_BIN:-}" ] || { cp "$SKIFF_BIN.stripped" /usr/local/bin/skiff && export SKIFF_BIN=/usr/local/bin/skiff; }'
    printf '%q ' "$@"
} >$guest/job
[ -z "${SKIFF_BIN:-}" ] || strip -o "$SKIFF_BIN.stripped" "$SKIFF_BIN"
rm -f $guest/status
echo "guest: starting; its console is in $guest/console"
qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m "${GUEST_MEMORY:-4096}" -nodefaults \
    -display none -no-reboot -snapshot -serial file:$guest/console \
    -device virtio-serial -chardev file,id=out,path=/dev/stdout -device virtserialport,chardev=out,name=output \
    -kernel $guest/kernel -initrd $guest/initrd \
    -append "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable skiff.checkout=$PWD" \
    -drive file=$guest/disk,format=raw,if=virtio,cache=unsafe \
    -virtfs local,path="$PWD",mount_tag=checkout,security_model=none,multidevs=remap </dev/null | cat
[ -f $guest/status ] || { echo "guest: it ended before its job did: see $guest/console" >&2; exit 1; }
exit "$(cat $guest/status)"
