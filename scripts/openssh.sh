#!/bin/sh
# Makes sure that OpenSSH's server and sudo are here, of which tests make SSH
# hosts: installs the distribution's packages as root, and says what to install
# otherwise.
set -eu

found() { [ -x /usr/sbin/sshd ] && [ -x /usr/bin/sudo ]; }

if found; then
	exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	cat >&2 <<-'EOT'
		OpenSSH's server and sudo are needed to test SSH, and are not there. On
		Debian or Ubuntu:

		    sudo apt-get update && sudo apt-get install -y openssh-server sudo

		Tests start throw-away servers of their own, in a private root filesystem;
		one that the package may have started is neither needed nor touched.
	EOT
	exit 1
fi

echo "Installing OpenSSH's server and sudo (the Debian packages openssh-server and sudo)." >&2
"${0%/*}/apt-install.sh" openssh-server sudo
found || { echo "The packages openssh-server and sudo brought no /usr/sbin/sshd or no /usr/bin/sudo." >&2; exit 1; }
