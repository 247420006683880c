#!/bin/sh
# Installs Debian packages, as root, without starting the services that they
# bring: nobody asked for those.
set -eu

export DEBIAN_FRONTEND=noninteractive

# Services are told not to start, for this installation only.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi

apt-get update -q >&2
apt-get install -y -q --no-install-recommends "$@" >&2
