# shellcheck shell=bash
# Sourced after common.sh: packages from a suite that the machine does not list, taken from the mirror it does use,
# without changing the machine's apt configuration. Needs WORK (make_work).

# The Debian mirror in the machine's own configuration (either sources format; nothing needs to have been downloaded).
apt_mirror() {
    local codename
    have apt-get || die "apt-get is not on this machine; install the packages by hand (see scripts/vm/README.md)"
    codename=$(apt_codename)
    # shellcheck disable=SC2016
    apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v codename="$codename" '$1 == codename && !found { print $2; found = 1 } END { exit !found }' ||
        die "apt's sources name no mirror for '$codename'; add one to /etc/apt/sources.list.d"
}

apt_codename() { (. /etc/os-release && printf '%s\n' "$VERSION_CODENAME"); }

# Sets APT to the options that make apt see this release plus SUITE: apt_with SUITE
# APT_ARCHITECTURE names another architecture, whose packages are then PACKAGE:ARCHITECTURE; nothing of it is installed.
apt_with() {
    local suite=$1 state mirror codename signed=
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    state=$WORK/apt-$suite${APT_ARCHITECTURE:+-$APT_ARCHITECTURE}
    mirror=$(apt_mirror)
    codename=$(apt_codename)
    [[ -r $key ]] && signed="[signed-by=$key] "
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    printf "deb ${signed}$mirror %s main\n" "$codename" >"$state/sources.list"
    [[ $suite == "$codename" ]] || printf "deb ${signed}$mirror %s main\n" "$suite" >>"$state/sources.list"
    APT=(-qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
         -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root)
    [[ -z ${APT_ARCHITECTURE:-} ]] || APT+=(-o "APT::Architectures::=$(dpkg --print-architecture)" -o "APT::Architectures::=$APT_ARCHITECTURE")
    say "apt: reading suite $suite"
    apt-get "${APT[@]}" update >&2 || die "suite $suite cannot be read from the mirror $mirror"
}

# Installs packages of SUITE (of this release where SUITE is empty): apt_install SUITE PACKAGE...
apt_install() {
    local suite=$1
    shift
    have apt-get || die "apt-get is not on this machine; install these by hand: $*"
    [[ $(id -u) == 0 ]] || die "these packages are missing and only root can install them: $* ${suite:+(suite $suite)}"
    apt_with "${suite:-$(apt_codename)}"
    say "apt: installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get "${APT[@]}" install -y --no-install-recommends ${suite:+-t "$suite"} "$@" \
        >"$WORK/apt.log" 2>&1 </dev/null || { tail -n 20 "$WORK/apt.log" >&2; die "apt could not install $*"; }
}

# Puts the .deb of each PACKAGE of SUITE into FOLDER: apt_download SUITE FOLDER PACKAGE...
apt_download() {
    local suite=$1 folder=$2
    shift 2
    apt_with "$suite"
    say "apt: downloading $*"
    (cd "$folder" && apt-get "${APT[@]}" download "${@/%//$suite}" >&2) || die "$* is not in suite $suite of the mirror"
}
