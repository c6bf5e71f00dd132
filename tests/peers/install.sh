#!/bin/sh
# The foreign programs that the tests talk to, as Debian packages. As root it installs what is missing; else it says so.
set -eu

missing=""
need() { command -v "$1" >/dev/null 2>&1 || [ -x "$2" ] || missing="$missing $3"; }
need Orthanc /usr/sbin/Orthanc orthanc
need storescp /usr/bin/storescp dcmtk
need dciodvfy /usr/bin/dciodvfy dicom3tools
need ffprobe /usr/bin/ffprobe ffmpeg
need chromium /usr/bin/chromium chromium
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "the tests need foreign peers: install them with  apt-get install$missing" >&2
  exit 1
fi
# The packages' own services are not wanted: the tests start what they need on free loopback ports.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$guard"
  chmod +x "$guard"
  trap 'rm -f "$guard"' EXIT
fi
echo "Installing test peers:$missing"
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
