# shellcheck shell=bash
# Sourced after common.sh, apt.sh and make_work: an arm64 Linux in QEMU, for scripts/foreign/arm64. All of it is emulated, so it is ten to thirty times slower than this machine.
#   VFIO_ARM64_KERNEL   Image to boot, or "debian" for Debian's kernel; else the one of `scripts/vm/build-kernel --arm64`, if it was built; else Debian's
#   VFIO_ARM64_TIMEOUT  seconds one boot may take, default 1800

# What this machine needs for it.
arm64_setup() {
    local need=() pair
    have dotnet || die "the .NET 10 SDK is missing: install it from https://dot.net and put dotnet on the PATH"
    for pair in qemu-system-aarch64:qemu-system-arm aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu cpio:cpio xz:xz-utils depmod:kmod busybox:busybox-static; do
        have "${pair%%:*}" || [[ -x /sbin/${pair%%:*} ]] || need+=("${pair#*:}")
    done
    [[ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ]] || need+=(libc6-dev-arm64-cross)
    [[ -e /usr/aarch64-linux-gnu/lib/libstdc++.so.6 ]] || need+=(libstdc++6-arm64-cross)
    [[ ${#need[@]} == 0 ]] || apt_install "" "${need[@]}"
}

# Sets ARM64_KERNEL and, for Debian's, puts the modules into ROOT: arm64_kernel ROOT
arm64_kernel() {
    local root=$1 suite=${VFIO_VM_SOURCE_SUITE:-trixie-backports} version modules module file
    ARM64_KERNEL=${VFIO_ARM64_KERNEL:-$(find "$(cache_folder)" -maxdepth 1 -name 'Image-arm64-*' 2>/dev/null | sort | tail -n 1)}
    if [[ -n $ARM64_KERNEL && $ARM64_KERNEL != debian ]]; then
        [[ -r $ARM64_KERNEL ]] || die "VFIO_ARM64_KERNEL names '$ARM64_KERNEL', which cannot be read"
        return
    fi
    APT_ARCHITECTURE=arm64 apt_with "$suite"
    version=$(apt-cache "${APT[@]}" depends linux-image-arm64:arm64/"$suite" | sed -n 's/^ *Depends: linux-image-\([0-9][^:]*\).*/\1/p' | head -n 1)
    [[ -n $version ]] || die "suite $suite has no linux-image-arm64"
    mkdir "$WORK/kernel"
    APT_ARCHITECTURE=arm64 apt_download "$suite" "$WORK/kernel" "linux-binary-$version:arm64" "linux-modules-$version:arm64" "linux-base-$version:arm64"
    for file in "$WORK"/kernel/*.deb; do dpkg-deb --fsys-tarfile "$file" | tar x -C "$WORK/kernel" --exclude='*/dtb/*'; done
    modules=$WORK/kernel/usr/lib/modules/$version
    ARM64_KERNEL=$modules/vmlinuz
    mkdir -p "$root/lib/modules/$version"
    for module in vfio vfio_iommu_type1 vfio-pci-core vfio-pci irqbypass netfs 9pnet 9pnet_virtio 9p nvme-core nvme; do
        file=$(find "$modules/kernel" -name "$module.ko.xz")
        [[ -z $file ]] || xz -dc "$file" >"$root/lib/modules/$version/$module.ko"
    done
    cp "$modules"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/"
    PATH=$PATH:/sbin depmod -b "$root" "$version"
}

# Makes WORK/initrd: busybox, the C library, the vfio command and its runtime, what FILES (paths) hold as /app/NAME: arm64_image FILE...
arm64_image() {
    local root=$WORK/root applet library=/usr/aarch64-linux-gnu/lib
    mkdir -p "$root"/{bin,etc,lib,usr,app,dev,proc,sys,tmp,run,root,var,out} "$WORK/deb"
    APT_ARCHITECTURE=arm64 apt_download "$(apt_codename)" "$WORK/deb" busybox-static:arm64 libssl3:arm64
    dpkg-deb --fsys-tarfile "$WORK"/deb/busybox-static_*.deb | tar x -C "$root" ./bin/busybox
    for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"; done
    ln -s bin "$root/sbin"
    ln -s ../bin "$root/usr/bin"
    cp -L "$library"/{ld-linux-aarch64.so.1,libc.so.6,libdl.so.2,libm.so.6,libpthread.so.0,librt.so.1,libgcc_s.so.1,libstdc++.so.6} "$root/lib/"
    # Loaded by name at run time: xunit hashes test ids through OpenSSL.
    dpkg-deb --fsys-tarfile "$WORK"/deb/libssl3_*.deb | tar x -C "$root/lib" --strip-components=4 --wildcards '*/lib*.so*'
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf '#!/bin/sh\nexec /app/vfio/vfio "$@"\n' >"$root/bin/vfio"
    cat >"$root/init" <<'INIT'
#!/bin/sh
export PATH=/bin HOME=/root TMPDIR=/tmp TERM=dumb
export DOTNET_TieredPGO=0 DOTNET_EnableDiagnostics=0 TESTINGPLATFORM_TELEMETRY_OPTOUT=1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev 2>/dev/null
mount -t debugfs none /sys/kernel/debug
mkdir -p /dev/shm /dev/hugepages
for folder in /tmp /run /dev/shm; do mount -t tmpfs none $folder; done
mount -t hugetlbfs none /dev/hugepages
ln -s /proc/self/fd /dev/fd
for module in 9pnet_virtio 9p vfio_iommu_type1 vfio-pci; do modprobe $module 2>/dev/null; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out
cd /root
sh /out/job >>/out/stdout 2>>/out/stderr </dev/null
echo $? >/out/status
sync
poweroff -f
INIT
    chmod a+x "$root/init" "$root/bin/vfio"
    cp -r "$@" "$root/app/"
    find "$root/app" -name '*.pdb' -delete
    arm64_kernel "$root"
    (cd "$root" && find . | cpio -o -H newc 2>/dev/null) >"$WORK/initrd"
    rm -rf "$root"
}

# The .NET program PROJECT with its runtime, as FOLDER: arm64_publish PROJECT FOLDER
arm64_publish() {
    say "arm64: publishing $1"
    dotnet publish "$REPOSITORY/$1" -c Release -r linux-arm64 --self-contained -o "$2" -v quiet -nodeReuse:false --nologo >"$WORK/build.log" 2>&1 </dev/null ||
        { cat "$WORK/build.log" >&2; die "$1 cannot be published for arm64"; }
}

# Boots once and runs OUT/job in it, as vm_boot does; the devices of scripts/vm at their places, but for the root disk, which there is none, and two edus more in a group that an
# SMMUv3 can have. No PCI window above 4 GiB: QEMU 10.0 decodes the lower 32 bits only of the address of a virtual function's BAR. arm64_boot OUT
arm64_boot() {
    local out=$1 status=0 tails
    truncate -s 16M "$WORK/nvme"
    : >"$out/stdout"
    : >"$out/stderr"
    timeout --signal=TERM --kill-after=5 "${VFIO_ARM64_TIMEOUT:-1800}" nice qemu-system-aarch64 -accel tcg,thread=multi \
        -machine virt,gic-version=3,iommu=smmuv3,highmem-mmio=off -cpu max,pauth-impdef=on -smp 2 -m 4096 \
        -nodefaults -no-user-config -display none -no-reboot -serial "file:$out/console" \
        -fsdev "local,id=out,path=$out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out,addr=3 \
        -device edu,addr=4,dma_mask=0xffffffffffffffff \
        -drive "file=$WORK/nvme,format=raw,if=none,id=disk" -device nvme,drive=disk,serial=iommufd,addr=5 \
        -device pcie-root-port,id=rp1,slot=1,addr=6 -device igb,bus=rp1 \
        -device pcie-pci-bridge,id=br,addr=7 \
        -device edu,bus=br,addr=1,dma_mask=0xffffffffffffffff -device edu,bus=br,addr=2,dma_mask=0xffffffffffffffff \
        -device pcie-root-port,id=rp2,slot=2,addr=0xd,disable-acs=on \
        -device edu,bus=rp2,addr=0.0,multifunction=on,dma_mask=0xffffffffffffffff -device edu,bus=rp2,addr=0.1,dma_mask=0xffffffffffffffff \
        -kernel "$ARM64_KERNEL" -initrd "$WORK/initrd" -append "console=ttyAMA0 panic=-1 quiet rdinit=/init" </dev/null >"$out/qemu" 2>&1 &
    VM_PID=$!
    tail -q -s 0.5 -n +1 -f --pid="$VM_PID" "$out/stdout" & tails=$!
    wait "$VM_PID" || status=$?
    VM_PID=
    wait "$tails" || true
    [[ -s $out/status ]] && return 0
    say "arm64: ended (QEMU status $status; 124: the time was over, VFIO_ARM64_TIMEOUT sets it) before the job was done"
    tail -n 25 "$out/stderr" "$out/qemu" "$out/console" >&2 2>/dev/null || true
    return 1
}
