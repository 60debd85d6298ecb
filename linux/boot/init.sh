#!/bin/sh
# SPDX-License-Identifier: GPL-2.0 OR MIT
# The first process of the kernel that `cargo xtask kernel` boots. The command line says in the
# environment what to do (RINGFENCE_DO, a script beside this one) and where the modules lie.
#
# Whoever reads the log believes in its end only where the last line below is.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t tmpfs tmpfs /tmp
cd "$RINGFENCE_MODULES" || exit 1

say() {
    echo "ringfence-boot: $*"
}

# insert MODULE [PARAMETER...]: the log says so where it does not load.
insert() {
    say "insmod $*"
    module=$1
    shift
    insmod "$module.ko" "$@" || say "FAILED insmod $module ($?)"
}

remove() {
    rmmod "$1" || say "FAILED rmmod $1 ($?)"
}

. "${0%/*}/$RINGFENCE_DO.sh"

say "end"
# No init system here, so no `poweroff` either: reboot(2), off.
sync
perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'
