# shellcheck shell=bash
# Sourced after common.sh and make_work: the kernel, the disk image and one boot of the test machine.
#   VFIO_VM_KERNEL   bzImage to boot          VFIO_VM_TIMEOUT  seconds one boot may take, default 900
#   VFIO_VM_ACCEL    auto, tcg or kvm         VFIO_VM_MEMORY   MiB, default 1024
#   VFIO_VM_APPEND   more kernel arguments    VFIO_VM_CPUS     default 1
#   VFIO_VM_ICOUNT   QEMU's -icount: the clock counts instructions (shift=1,sleep=off: 2 ns each); always emulated
VM=$REPOSITORY/scripts/vm

# Prints the kernel to boot: named, else cached, else built.
vm_kernel() {
    local kernel=${VFIO_VM_KERNEL:-}
    if [[ -n $kernel ]]; then
        [[ -r $kernel ]] || die "VFIO_VM_KERNEL names '$kernel', which cannot be read; unset it to use or build the cached kernel"
    else
        kernel=$(find "$(cache_folder)" -maxdepth 1 -name 'bzImage-*' 2>/dev/null | sort | tail -n 1)
        [[ -n $kernel ]] || kernel=$("$VM/build-kernel")
    fi
    printf '%s\n' "$kernel"
}

# True where KVM really runs this kernel: a /dev/kvm that opens can still be unable to. The boot ends by itself, for want of a root.
vm_kvm_works() {
    if [[ -z ${VM_KVM:-} ]]; then
        VM_KVM=no
        if [[ -w /dev/kvm ]]; then
            # A shell of its own, for its report of an aborted QEMU is no news.
            bash -c 'ulimit -c 0; timeout -k 1 10 qemu-system-x86_64 "$@"; true' probe -accel kvm,kernel-irqchip=split -machine q35 -cpu max -m 256 \
                -nodefaults -display none -no-reboot -device intel-iommu,intremap=on -serial "file:$WORK/kvm" \
                -kernel "$1" -append "console=ttyS0 panic=-1" </dev/null >/dev/null 2>&1
            grep -qs "VFS: Unable to mount root" "$WORK/kvm" && VM_KVM=yes
        fi
    fi
    [[ $VM_KVM == yes ]]
}

# Copies each file and the shared libraries it links to the same path below ROOT: vm_copy_libraries ROOT FILE...
vm_copy_libraries() {
    local root=$1 library
    shift
    ldd "$@" 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' | grep -vF "$REPOSITORY" | grep -vF "$WORK" | grep -v ':$' | sort -u |
        while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
}

# The .NET runtime of this machine's SDK, only what a framework-dependent program needs: vm_copy_dotnet ROOT
vm_copy_dotnet() {
    local root=$1 version folder dotnet loaded library
    read -r version folder < <(dotnet --list-runtimes |
        sed -n 's/^Microsoft.NETCore.App \(10[^ ]*\) \[\(.*\)\/shared\/Microsoft.NETCore.App\]$/\1 \2/p' | sort -V | tail -n 1)
    [[ -n ${folder:-} ]] || die "no .NET 10 runtime is installed (dotnet --list-runtimes)"
    dotnet=$root/usr/share/dotnet
    mkdir -p "$dotnet/shared/Microsoft.NETCore.App" "$root/bin"
    cp "$folder/dotnet" "$dotnet/"
    cp -r "$folder/host" "$dotnet/"
    cp -r "$folder/shared/Microsoft.NETCore.App/$version" "$dotnet/shared/Microsoft.NETCore.App/"
    ln -s ../usr/share/dotnet/dotnet "$root/bin/dotnet"
    vm_copy_libraries "$root" "$folder/dotnet" "$folder/shared/Microsoft.NETCore.App/$version"/*.so
    # Loaded by name at run time: xunit hashes test ids through OpenSSL; older glibc keeps these apart.
    for library in libssl.so.3 libcrypto.so.3 libdl.so.2 libpthread.so.0 librt.so.1; do
        loaded=$(ldconfig -p | awk -v name="$library" '$1 == name && /x86-64/ && !found { print $NF; found = 1 }')
        [[ -n $loaded ]] || { [[ $library == lib[scr]* && $library != librt* ]] && die "$library is missing: install OpenSSL 3 (libssl3)"; continue; }
        mkdir -p "$root$(dirname "$loaded")"
        cp -L "$loaded" "$root$loaded"
    done
}

# Makes WORK/image, the read-only root disk: busybox, .NET, the vfio command and the conformance tests.
vm_image() {
    local root=$WORK/root project applet folder libraries binaries=$REPOSITORY/artifacts/bin
    for project in src/VfioCli tests/Conformance; do
        say "vm: building $project"
        dotnet build "$REPOSITORY/$project" -v q -nodeReuse:false --nologo >"$WORK/build.log" 2>&1 </dev/null ||
            { cat "$WORK/build.log" >&2; die "$project does not build"; }
    done
    mkdir -p "$root"/{bin,etc,usr,app,lib64,dev,proc,sys,tmp,run,root,var,out,share}
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"; done
    for folder in usr/bin sbin usr/sbin; do ln -s "$([[ $folder == usr/* ]] && printf ../)bin" "$root/$folder"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    vm_copy_dotnet "$root"
    cp -r "$binaries/VfioCli/debug" "$root/app/vfio"
    cp -r "$binaries/Conformance/debug" "$root/app/conformance"
    mapfile -t libraries < <(find "$root/app" -path '*linux-x64*' -name '*.so')
    [[ ${#libraries[@]} == 0 ]] || vm_copy_libraries "$root" "${libraries[@]}"
    cp "$VM"/guest/* "$root/app/"
    printf '#!/bin/sh\nexec dotnet exec /app/vfio/vfio.dll "$@"\n' >"$root/bin/vfio"
    printf '#!/bin/sh\nexec dotnet exec /app/conformance/Conformance.dll "$@"\n' >"$root/bin/conformance"
    printf '#!/bin/sh\nexec dotnet exec /app/conformance/NvmeDriver.dll "$@"\n' >"$root/bin/nvme-driver"
    mv "$root/app/init" "$root/init"
    chmod -R a+rX "$root"
    chmod a+x "$root/init" "$root"/bin/{vfio,conformance,nvme-driver}
    mkfs.erofs -x-1 "$WORK/image" "$root" >"$WORK/erofs.log" 2>&1 || { cat "$WORK/erofs.log" >&2; die "mkfs.erofs failed"; }
    rm -rf "$root"
}

# All that a boot needs, each failing here with its own sentence: packages, WORK, VM_KERNEL, WORK/image.
vm_prepare() {
    "$VM/setup"
    make_work
    VM_KERNEL=$(vm_kernel)
    vm_image
}

# Boots once, runs OUT/job inside, leaves OUT/stdout, stderr, status, console: vm_boot MODE OUT [QEMU ARGUMENT...]
# The layout is the table in scripts/vm/README.md. VM_PID is QEMU's keeper while it runs.
vm_boot() {
    local mode=$1 out=$2 iommu=intel-iommu,intremap=on,caching-mode=on,aw-bits=48 append accel tails
    local limit=${VFIO_VM_TIMEOUT:-900} kernel serial=file:$out/console keeper=()
    shift 2
    append="console=ttyS0 panic=-1 no_timer_check quiet root=/dev/vda rootfstype=erofs ro rootwait init=/init intel_iommu=on"
    case $mode in
        legacy) ;;
        scalable) iommu+=,x-scalable-mode=on append+=,sm_on ;;
        flts) iommu+=,x-scalable-mode=on,x-flts=on append+=,sm_on ;;
        off) append+=" intel_iommu=off" ;;
        *) die "'$mode' is not a mode: legacy, scalable, flts or off" ;;
    esac
    kernel=$VM_KERNEL
    accel=tcg,thread=multi
    case ${VFIO_VM_ICOUNT:+icount}${VFIO_VM_ACCEL:-auto} in
        icount*) accel=tcg,thread=single; set -- -icount "$VFIO_VM_ICOUNT" "$@" ;;
        tcg) ;;
        kvm) accel=kvm,kernel-irqchip=split ;;
        auto) vm_kvm_works "$kernel" && accel=kvm,kernel-irqchip=split ;;
        *) die "VFIO_VM_ACCEL is '$VFIO_VM_ACCEL': auto, tcg or kvm" ;;
    esac
    truncate -s 16M "$out/../nvme"
    : >"$out/stdout"
    : >"$out/stderr"
    # Interactive (VM_TERMINAL=/dev/tty): the console is the terminal and QEMU stays in its process group.
    [[ -z ${VM_TERMINAL:-} ]] || { serial=mon:stdio; keeper=(--foreground); }
    timeout "${keeper[@]}" --signal=TERM --kill-after=5 "$limit" qemu-system-x86_64 -accel "$accel" \
        -machine q35 -cpu max -smp "${VFIO_VM_CPUS:-1}" -m "${VFIO_VM_MEMORY:-1024}" \
        -nodefaults -no-user-config -display none -no-reboot -serial "$serial" \
        -device "$iommu" \
        -drive "file=$WORK/image,format=raw,if=none,id=root,readonly=on" -device virtio-blk-pci,drive=root,addr=2 \
        -fsdev "local,id=out,path=$out,security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out,addr=3 \
        -device edu,addr=4,dma_mask=0xffffffffffffffff \
        -drive "file=$out/../nvme,format=raw,if=none,id=disk" -device nvme,drive=disk,serial=iommufd,addr=5 \
        -device pcie-root-port,id=rp1,slot=1,addr=6 -device igb,bus=rp1 \
        -device pcie-pci-bridge,id=br,addr=7 \
        -device edu,bus=br,addr=1,dma_mask=0xffffffffffffffff -device edu,bus=br,addr=2,dma_mask=0xffffffffffffffff \
        "$@" -kernel "$kernel" -append "$append ${VFIO_VM_APPEND:-}" <"${VM_TERMINAL:-/dev/null}" >"${VM_TERMINAL:-$out/qemu}" 2>&1 &
    VM_PID=$!
    tail -q -s 0.1 -n +1 -f --pid="$VM_PID" "$out/stdout" & tails=$!
    tail -q -s 0.1 -n +1 -f --pid="$VM_PID" "$out/stderr" >&2 & tails+=" $!"
    local status=0
    wait "$VM_PID" || status=$?
    VM_PID=
    # shellcheck disable=SC2086
    wait $tails || true
    [[ -s $out/status ]] && return 0
    if [[ $status == 124 || $status == 137 ]]; then
        say "vm: stopped after $limit s (VFIO_VM_TIMEOUT sets the limit)"
    else
        say "vm: ended (QEMU status $status) before the job was done"
    fi
    tail -n 25 "$out/qemu" "$out/console" >&2 2>/dev/null || true
    return 1
}

# Ends a boot that is still running, on the way out.
on_exit() {
    [[ -n ${VM_PID:-} ]] || return 0
    kill "$VM_PID" 2>/dev/null || true
    wait "$VM_PID" 2>/dev/null || true
}
