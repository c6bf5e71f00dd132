#!/bin/sh
# The foreign programs that the tests talk to, as Debian packages. As root it installs what is missing; else it says so.
set -eu

missing=""
need() { # program, where it may be, its package
  command -v "$1" >/dev/null 2>&1 && return
  for place in $2; do [ -x "$place" ] && return; done
  missing="$missing $3"
}
need Orthanc /usr/sbin/Orthanc orthanc
need storescp "" dcmtk
need dciodvfy "" dicom3tools
need pg_ctl "/usr/lib/postgresql/*/bin/pg_ctl" postgresql
need chromium "" chromium
need ffmpeg "" ffmpeg
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "The tests need foreign peers: install$missing (on Debian, as root: apt-get install$missing)" >&2
  exit 1
fi

# Orthanc and PostgreSQL come with services on fixed ports, which are not wanted: the tests start what they need on free
# loopback ports. A policy of the machine's own is left as it is; ours is taken away again.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
  trap 'rm -f "$guard"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$guard"
  chmod +x "$guard"
fi

echo "Installing the tests' foreign peers:$missing"
wait_for_lock="-o DPkg::Lock::Timeout=300"
# shellcheck disable=SC2086 # both are lists of words
{
  apt-get $wait_for_lock update -qq
  DEBIAN_FRONTEND=noninteractive apt-get $wait_for_lock install -y -qq --no-install-recommends $missing >/dev/null
}
