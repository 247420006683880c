#!/bin/sh
# Makes the root filesystems of other systems from which make torture starts SSH
# hosts: an older and a newer Debian, and one that has busybox in the place of
# everything. They go into the cache that internal/sandbox reads, once. As root on
# Debian.
set -eu

fail() {
	printf '%s: %s\n' "$0" "$1" >&2
	exit 1
}

[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || fail 'root filesystems are made as root, on Debian'

cache=/var/cache/terraform-provider-stitch/ssh-roots
mkdir -p "$cache"
temp=$(mktemp -d "$cache/.new.XXXXXX")
trap 'rm -rf "$temp"' EXIT
trap 'exit 1' HUP INT TERM

# need <program> <package>... installs packages unless the program is there.
need() {
	command -v "$1" >/dev/null && return
	shift
	"${0%/*}/apt-install.sh" "$@"
}

# keep <name> moves $temp/<name> into the cache: what is not whole never gets there.
keep() {
	mv -T "$temp/$1" "$cache/$1" 2>/dev/null ||
		[ -x "$cache/$1/usr/sbin/sshd" ] || # another run of this script was first
		fail "cannot write $cache/$1"
}

debian() {
	suite=$1
	[ -x "$cache/$suite/usr/sbin/sshd" ] && return
	echo "Debian $suite -> $cache/$suite"
	need debootstrap debootstrap
	mirror=$(apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" | grep -v security | head -n 1)
	debootstrap --variant=minbase --include=openssh-server,sudo,adduser "$suite" "$temp/$suite" "$mirror" >"$temp/log" 2>&1 ||
		{ tail -n 20 "$temp/log" >&2; fail "debootstrap $suite"; }
	rm -rf "$temp/$suite"/var/cache/apt/archives/*.deb "$temp/$suite"/var/lib/apt/lists/*
	keep "$suite"
}

# sources writes the machine's own package sources, for source packages.
sources() {
	mkdir -p "$temp/apt/parts" "$temp/apt/lists/partial"
	for each in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		case $each in
		*.list) [ ! -e "$each" ] || sed 's/^deb /deb-src /' "$each" >"$temp/apt/parts/${each##*/}" ;;
		*.sources) sed 's/^Types:.*/Types: deb-src/' "$each" >"$temp/apt/parts/${each##*/}" ;;
		esac
	done
}

apt() {
	apt-get -q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$temp/apt/parts" -o "Dir::State::Lists=$temp/apt/lists" "$@"
}

# busybox has Debian's sshd, its libraries, and nothing else but busybox: built
# here, for Debian's own has no adduser.
busybox() {
	[ -x "$cache/busybox/usr/sbin/sshd" ] && return
	echo "busybox -> $cache/busybox"
	need make make
	need cc gcc libc6-dev
	need dpkg-source dpkg-dev
	"${0%/*}/openssh.sh"
	sources
	{
		apt update
		(cd "$temp" && apt -o APT::Sandbox::User=root source busybox)
		cd "$temp"/busybox-*/
		make defconfig
		sed -i -e 's/.*CONFIG_STATIC[ =].*/CONFIG_STATIC=y/' -e 's/^CONFIG_TC=y/# CONFIG_TC is not set/' \
			-e 's/^CONFIG_FEATURE_DEFAULT_PASSWD_ALGO=.*/CONFIG_FEATURE_DEFAULT_PASSWD_ALGO="sha512"/' .config
		make -j2
		cd - >/dev/null
	} >"$temp/log" 2>&1 || { tail -n 20 "$temp/log" >&2; fail 'build busybox'; }

	r=$temp/busybox
	mkdir -p "$r/bin" "$r/sbin" "$r/usr/bin" "$r/usr/sbin" "$r/etc/ssh" "$r/root" "$r/home" "$r/tmp" "$r/var"
	cp "$temp"/busybox-*/busybox "$r/bin/busybox"
	for applet in $("$r/bin/busybox" --list-full); do
		mkdir -p "$r/${applet%/*}"
		[ -e "$r/$applet" ] || ln -s /bin/busybox "$r/$applet"
	done
	for program in /usr/sbin/sshd /usr/bin/ssh-keygen /usr/lib/openssh/sshd-session /usr/lib/openssh/sshd-auth; do
		[ -x "$program" ] || continue # the last two are newer versions'
		mkdir -p "$r/${program%/*}"
		cp "$program" "$r/$program"
		for library in $(ldd "$program" | grep -o '/[^ ]*'); do
			mkdir -p "$r/${library%/*}"
			cp -L "$library" "$r/$library"
		done
	done
	echo 'root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534:sshd:/run/sshd:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false' >"$r/etc/passwd"
	echo 'root:x:0:
tty:x:5:
nogroup:x:65534:' >"$r/etc/group"
	echo 'root:*:19000:0:99999:7:::
sshd:!:19000:0:99999:7:::
nobody:!:19000:0:99999:7:::' >"$r/etc/shadow"
	chmod 640 "$r/etc/shadow"
	echo /bin/sh >"$r/etc/shells"
	keep busybox
}

umask 022
debian bullseye
debian trixie
busybox
