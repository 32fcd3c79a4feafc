#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmtest.sh - boot a Debian kernel package in qemu with a static binary as the
# payload; print what the payload prints and exit with its exit code.
#
#   vmtest.sh [-k KERNEL] [-m MODS] [-f SRC:DST]... [-x TOOL]... [-e NAME=VALUE]...
#             [-C CPUS] [-M MIB] [-t SECONDS] [-a CMDLINE] [-A ACCEL] [-l LOG] PAYLOAD [ARG...]
#   vmtest.sh -p -k KERNEL        only prepare (download, unpack, depmod)
#
#   KERNEL  a .deb file, or the name of a Debian package (apt-get download
#           fetches it), or one of the short names 6.1 and 6.12: the newest
#           cloud-amd64 package of that line. Default: 6.1
#   MODS    modules to load before the payload, comma separated; what they
#           depend on is added. Default: see DEFMODS. "none" loads nothing.
#   SRC:DST further files for the guest (repeatable); DST is an absolute path.
#   TOOL    a program of this machine for the guest, with the libraries that it
#           needs (repeatable); xtables' tools get their extensions too.
#   NAME=VALUE  the payload's environment (repeatable).
#   ACCEL   tcg (default) or kvm.
#
# Exit code: the payload's own; 124 = time limit; 125 = the guest panicked or
# never reached the payload's end; 126 = this script could not do its part.
# Needs: qemu-system-x86 busybox-static cpio kmod xz-utils zstd dpkg.
# Environment: VMTEST_CACHE (default ~/.cache/vmtest).
set -euo pipefail
DEFMODS=veth,cls_bpf,sch_ingress,vxlan,bridge,dummy,tun,nf_tables,nfnetlink_queue,netkit?
KERNEL=6.1 MODS=$DEFMODS CPUS=1 MEM=1024 LIMIT=120 APPEND= ACCEL=tcg LOG= PREP= FILES=() TOOLS=() VARS=()
die() { echo "vmtest: $*" >&2; exit 126; }
while getopts k:m:f:x:e:C:M:t:a:A:l:ph o; do
  case $o in
    k) KERNEL=$OPTARG ;; m) MODS=$OPTARG ;; f) FILES+=("$OPTARG") ;; x) TOOLS+=("$OPTARG") ;; e) VARS+=("$OPTARG") ;;
    C) CPUS=$OPTARG ;; M) MEM=$OPTARG ;; t) LIMIT=$OPTARG ;;
    a) APPEND=$OPTARG ;; A) ACCEL=$OPTARG ;; l) LOG=$OPTARG ;; p) PREP=1 ;;
    *) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//p}' "$0"; exit 126 ;;
  esac
done
shift $((OPTIND - 1))
[ -n "$PREP" ] || [ $# -ge 1 ] || die "no payload (see -h)"
CACHE=${VMTEST_CACHE:-$HOME/.cache/vmtest}
BB=$(command -v busybox) || die "busybox-static is not installed"

# ---- the kernel: deb -> $K (vmlinuz, lib/modules/$REL, modules.dep)
case $KERNEL in
  6.1)  KERNEL=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1) ;;
  6.12) KERNEL=$(apt-cache depends linux-image-6.12-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1) ;;
esac
[ -n "$KERNEL" ] || die "no such kernel package (apt-get update?)"
if [ -f "$KERNEL" ]; then NAME=$(dpkg-deb -f "$KERNEL" Package); else NAME=$KERNEL; fi
K=$CACHE/$NAME
if [ ! -e "$K/.ok" ]; then
  mkdir -p "$CACHE/debs"; DEB=$KERNEL
  if [ ! -f "$DEB" ]; then
    (cd "$CACHE/debs" && apt-get -qq -o APT::Sandbox::User=root download "$NAME" >&2) || die "cannot download $NAME"
    DEB=$(ls -t "$CACHE/debs/$NAME"_*.deb | head -1)
  fi
  rm -rf "$K.tmp"; mkdir -p "$K.tmp"
  dpkg-deb -x "$DEB" "$K.tmp"
  REL=$(basename "$(ls -d "$K.tmp"/lib/modules/*)")
  depmod -b "$K.tmp" "$REL"
  rm -rf "$K"; mv "$K.tmp" "$K"; touch "$K/.ok"
fi
REL=$(basename "$(ls -d "$K"/lib/modules/*)")
[ -z "$PREP" ] || { echo "$K $REL"; exit 0; }
PAYLOAD=$1; shift
[ -x "$PAYLOAD" ] || die "no executable $PAYLOAD"

# ---- the modules, in load order; a name that ends in ? may be missing
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
R=$W/root; mkdir -p "$R"/{bin,dev,proc,sys,tmp,run,etc,root,mod}
: > "$R/mod/order"
if [ "$MODS" != none ]; then
  for m in ${MODS//,/ }; do
    opt=; case $m in *\?) opt=1; m=${m%\?} ;; esac
    list=$(modprobe -d "$K" -S "$REL" --show-depends "$m" 2>/dev/null) || {
      [ -n "$opt" ] && continue; die "module $m is not in $NAME"; }
    while read -r verb path _; do
      [ "$verb" = insmod ] || continue
      b=$(basename "$path"); n=${b%.xz}; n=${n%.zst}
      grep -qxF "$n" "$R/mod/order" && continue
      case $b in
        *.xz) xz -dc "$path" > "$R/mod/$n" ;;
        *.zst) zstd -qdc "$path" > "$R/mod/$n" ;;
        *) cp "$path" "$R/mod/$n" ;;
      esac
      echo "$n" >> "$R/mod/order"
    done <<< "$list"
  done
fi

# ---- the initramfs
cp "$BB" "$R/bin/busybox"; cp "$PAYLOAD" "$R/payload"; chmod 755 "$R/payload"
for f in ${FILES+"${FILES[@]}"}; do
  mkdir -p "$R$(dirname "${f#*:}")"; cp -rL "${f%%:*}" "$R${f#*:}"
done
for x in ${TOOLS+"${TOOLS[@]}"}; do
  p=$(command -v "$x") || die "no program $x to take along"
  xt=; case $x in ip*tables*) xt=$(pkg-config --variable=xtlibdir xtables 2>/dev/null || echo /usr/lib/"$(uname -m)"-linux-gnu/xtables) ;; esac
  for f in "$p" ${xt:+"$xt"/lib*.so} $(ldd "$p" ${xt:+"$xt"/lib*.so} | sed -n 's,^[^/]*\(/[^ :]*\) (0x.*,\1,p' | sort -u); do
    [ -e "$R$f" ] || { mkdir -p "$R$(dirname "$f")"; cp -L "$f" "$R$f"; }
  done
done
printf 'root:x:0:0:root:/root:/bin/sh\n' > "$R/etc/passwd"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$R/etc/hosts"
cat > "$R/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing; mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
ulimit -l unlimited; ulimit -n 65536
ip link set lo up
while read -r m; do insmod "/mod/$m" || echo "VMTEST-INSMOD-FAILED $m"; done < /mod/order
stty -F /dev/ttyS1 raw -echo 2>/dev/null
echo "VMTEST-START $(cut -d' ' -f1 /proc/uptime)"
/run.sh > /dev/ttyS1 2>&1; rc=$?
echo "VMTEST-END $(cut -d' ' -f1 /proc/uptime)"
echo "VMTEST-RC $rc"
sync; poweroff -f
I
q=; for a in "$@"; do q+=" $(printf '%q' "$a")"; done
e=; for a in "${VARS[@]}"; do e+="export $(printf '%q' "$a")"$'\n'; done
printf '#!/bin/busybox sh\n%sexec /payload%s < /dev/null\n' "$e" "$q" > "$R/run.sh"
chmod 755 "$R/init" "$R/run.sh"
(cd "$R" && find . | cpio -o -H newc --quiet -R 0:0) > "$W/initrd"

# ---- run (emulated, a fifth of the time is page walks of five levels and pages
# that the kernel clears before it needs to; nobody needs either here)
CON=${LOG:-$W/console}; : > "$CON"
case $ACCEL in tcg) acc=(-accel tcg,thread=multi -cpu max,la57=off) ;; kvm) acc=(-accel kvm) ;; *) die "accel $ACCEL" ;; esac
rc=0
timeout --foreground "$LIMIT" qemu-system-x86_64 -nodefaults -no-user-config -no-reboot \
  -display none -machine q35 "${acc[@]}" -smp "$CPUS" -m "$MEM" \
  -kernel "$K"/boot/vmlinuz-"$REL" -initrd "$W/initrd" \
  -append "console=ttyS0,115200 panic=-1 quiet mitigations=off init_on_alloc=0 rcupdate.rcu_expedited=1 tsc=reliable random.trust_cpu=on $APPEND" \
  -serial "file:$CON" -serial stdio < /dev/null || rc=$?
[ "$rc" != 124 ] || { echo "vmtest: time limit of ${LIMIT}s; console:" >&2; tail -5 "$CON" >&2; exit 124; }
got=$(tr -d '\r' < "$CON" | sed -n 's/^VMTEST-RC //p' | tail -1)
if [ -z "$got" ]; then echo "vmtest: no end of the payload was seen; console:" >&2; tail -20 "$CON" >&2; exit 125; fi
grep -a VMTEST-INSMOD "$CON" >&2 || true
exit "$got"
