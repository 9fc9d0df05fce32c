# shellcheck shell=bash
# Sourced after common.sh: what the programs of this folder share.

# The vfio command under test: VFIO=path, else this repository's build.
foreign_vfio() {
    local vfio=${VFIO:-$REPOSITORY/artifacts/bin/VfioCli/debug/vfio}
    [[ -x $vfio ]] || die "the vfio command is not built: dotnet build src/VfioCli, or name it in VFIO"
    printf '%s\n' "$vfio"
}

# Reserves huge pages of the host for the time of the script: foreign_huge_pages 2M-PAGES 1G-PAGES; on_exit must call foreign_huge_pages_back
foreign_huge_pages() {
    local size want folder
    FOREIGN_PAGES=()
    for size in 2048:$1 1048576:$2; do
        want=${size#*:}
        folder=/sys/kernel/mm/hugepages/hugepages-${size%%:*}kB/nr_hugepages
        [[ -w $folder ]] || continue
        FOREIGN_PAGES+=("$folder=$(cat "$folder")")
        [[ $(cat "$folder") -ge $want ]] || echo "$want" >"$folder" 2>/dev/null || true
    done
}

foreign_huge_pages_back() {
    local entry
    for entry in "${FOREIGN_PAGES[@]:-}"; do [[ -z $entry ]] || echo "${entry#*=}" >"${entry%%=*}" 2>/dev/null || true; done
}

# Counts of a TAP file as "pass fail skip": foreign_counts FILE
foreign_counts() {
    awk '/^ok .*# SKIP/ { skip++; next } /^ok / { pass++ } /^not ok / { fail++ } /^1\.\.0 # SKIP/ { none = 1 } END { print pass + 0, fail + 0, skip + 0 }' "$1"
}
