#!/usr/bin/env bash
# freethreaded-python.sh KIND: the path of a free-threaded CPython, on stdout; KIND is `plain` or `tsan` (with the thread
# sanitizer). What is not in the cache yet is built there, from Debian's source package: Debian has no binary of it. The
# package comes as those of tools/arm do, without a change to this machine's apt.
#
# IOTWIRE_CACHE: where to keep it, instead of ~/.cache/iotwire. IOTWIRE_DEBIAN_MIRROR: another mirror.
# IOTWIRE_JOBS: how many compilers at once, instead of one for each processor.
set -euo pipefail
kind=$1
version=3.13.5 suite=trixie
cache=${IOTWIRE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/iotwire}/freethreaded

configuration=(--disable-gil --disable-test-modules --without-doc-strings)
case $kind in
    plain) configuration+=("OPT=-O2 -DNDEBUG") ;;
    tsan) configuration+=(--with-thread-sanitizer "OPT=-O1 -g1 -DNDEBUG") ;; # -g1: functions and lines, for its reports
    *) echo "freethreaded-python.sh: plain or tsan, not '$kind'" >&2; exit 1 ;;
esac

say() { echo "$*" >&2; }

# A C compiler and the headers that the ssl, zlib and ctypes modules need.
install_packages() {
    local program missing=
    for program in gcc make xz apt-get; do
        command -v "$program" >/dev/null || missing=1
    done
    if [ -z "$missing" ] && printf '#include <%s>\n' openssl/ssl.h zlib.h ffi.h | gcc -E - >/dev/null 2>&1; then
        return
    fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "Please install what CPython is built with; on Debian: apt-get install gcc make xz-utils libssl-dev zlib1g-dev libffi-dev"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >&2
    apt-get install -q -y --no-install-recommends gcc libc6-dev make xz-utils libssl-dev zlib1g-dev libffi-dev >&2
}

# The upstream tarball of the source package, whose hash apt checks against Debian's signed lists.
fetch() {
    local found
    found=$(PYTHONPATH=$(dirname "$0")/arm python3 -c "import debian; print(debian.source('python3.13', '$suite', '*.orig.tar.xz'))")
    [ "$(basename "$found")" = "python3.13_$version.orig.tar.xz" ] ||
        { say "Debian's $suite no longer has CPython $version but $(basename "$found"): name that in $0."; exit 1; }
    echo "$found"
}

build() (
    local work=$1 tarball
    tarball=$(fetch)
    mkdir "$work/source"
    tar --extract --file "$tarball" --directory "$work/source" --strip-components 1
    cd "$work/source"
    ./configure -q --prefix="$prefix" "${configuration[@]}" >../configure.log 2>&1 || { tail -n 20 ../configure.log >&2; exit 1; }
    # Installed beside its place and then renamed: what is in its place is whole. pip comes with the virtual environment.
    # compileall has an -x of its own behind these options, and makes bytecode of the whole library, three times, unless
    # it is asked for help: under the sanitizer that takes longer than all of the compiling.
    make -j"${IOTWIRE_JOBS:-$(nproc)}" >../make.log 2>&1 || { tail -n 20 ../make.log >&2; exit 1; }
    make install DESTDIR="$work/root" ENSUREPIP=no COMPILEALL_OPTS=--help >../install.log 2>&1 ||
        { tail -n 20 ../install.log >&2; exit 1; }
    cp Tools/tsan/suppressions_free_threading.txt "$work/root$prefix/"
    mv "$work/root$prefix" "$prefix"
)

key=$(printf '%s\n' "$(gcc -dumpfullversion 2>/dev/null || true)" "${configuration[@]}" | sha256sum | cut -c 1-12)
prefix=$cache/cpython-$version-$kind-$key
if [ ! -d "$prefix" ]; then
    install_packages
    mkdir -p "$cache"
    # One at a time; and what an interrupted build left is thrown away by the next.
    exec 9>"$cache/$kind.lock"
    flock 9
    if [ ! -d "$prefix" ]; then
        say "building a free-threaded CPython $version ($kind): takes some minutes, once"
        rm -rf "$cache/building-$kind"
        mkdir -p "$cache/building-$kind"
        build "$cache/building-$kind"
        rm -rf "$cache/building-$kind"
    fi
fi
echo "$prefix/bin/python3.13t"
