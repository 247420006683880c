# Changes what want_... name of the user $name, and repairs what repair_... name.

account "$name"
[ "$origin" != absent ] || exit 84
[ "$uid" = "$have_uid" ] || exit 85
[ "$origin" = local ] || exit 86

if [ -n "$want_group" ] && [ -z "$(entry /etc/group "$want_group")" ]; then
	exit 82
fi
if [ -n "$want_shell" ]; then
	[ -f "$want_shell" ] && [ -x "$want_shell" ] || die "the shell $want_shell does not exist or cannot be run: sshd would refuse the user"
fi
to=${want_home:-$home}
if [ -n "$want_home" ]; then
	repair_home=yes
fi

# own PATH WHAT MODE gives what is open as WHAT to the user, and keeps others out. What
# belongs to another user is left to it.
own() {
	owner=$(stat -L -c %u "$2") || die "cannot inspect $1"
	if [ "$owner" != "$uid" ]; then
		[ "$owner" != 0 ] || [ "$1" = "$to/.ssh" ] || die "$1 belongs to root, and its permissions make sshd refuse the keys of $name. Terraform does not change its owner. Set another home, or repair it by hand"
		[ "$owner" = 0 ] || [ -z "$(sought=$owner awk -F: '$3 "" == ENVIRON["sought"] "" { print; exit }' /etc/passwd)" ] ||
			die "$1 belongs to another user (uid $owner): sshd refuses the keys of $name. Terraform does not change its owner. Set another home, or repair it by hand"
		chown "$uid" "$2" || die "cannot make the user the owner of $1"
	fi
	chmod "$3" "$2" || die "cannot change the permissions of $1"
}

# enter_ssh changes into ~/.ssh, unless that is a symbolic link or missing. Whoever puts a
# link there meanwhile is found out by where that leads.
enter_ssh() {
	cd -P "$to" || die "the home directory $to is not a directory, or cannot be entered"
	inside=$(pwd -P)/.ssh
	[ ! -L .ssh ] && [ -d .ssh ] && cd -P .ssh || return 1
	[ "$(pwd -P)" = "$inside" ] || die "$to/.ssh was replaced while it was being repaired"
}

if [ -n "$repair_home" ]; then
	if [ ! -e "$to" ] && [ ! -L "$to" ]; then
		enter_parent "$to"
		make_home "$to"
	fi
	cd -P "$to" || die "the home directory $to is not a directory, or cannot be entered"
	own "$to" . u+rwx,go-w
fi
if [ -n "$repair_ssh" ] && enter_ssh; then
	own "$to/.ssh" . u+rwx,go-w
fi
if [ -n "$repair_keys" ] && enter_ssh && [ -f authorized_keys ] && [ ! -L authorized_keys ]; then
	# What was opened is what is looked at and changed, whatever its name stands for by then.
	exec 8<authorized_keys
	own "$to/.ssh/authorized_keys" /proc/self/fd/8 u+rw,go-w
	exec 8<&-
fi
cd /

if command -v usermod >/dev/null; then
	set --
	[ -z "$want_group" ] || set -- "$@" -g "$want_group"
	[ -z "$want_shell" ] || set -- "$@" -s "$want_shell"
	[ -z "$want_home" ] || set -- "$@" -d "$want_home"
	[ -z "$set_gecos" ] || set -- "$@" -c "$want_gecos"
	[ -z "$repair_password" ] || set -- "$@" -p '*'
	[ -z "$repair_expiry" ] || set -- "$@" -e ''
	if [ $# -gt 0 ]; then
		usermod "$@" "$name" >&2 || die "usermod failed with exit status $?"
	fi
else
	[ -z "$want_group" ] || edit /etc/passwd 4 "$(entry /etc/group "$want_group" | cut -d: -f3)"
	[ -z "$want_shell" ] || edit /etc/passwd 7 "$want_shell"
	[ -z "$want_home" ] || edit /etc/passwd 6 "$want_home"
	[ -z "$set_gecos" ] || edit /etc/passwd 5 "$want_gecos"
	[ -z "$repair_password" ] || edit /etc/shadow 2 '*'
	[ -z "$repair_expiry" ] || edit /etc/shadow 8 ''
fi
if [ -n "$repair_age" ]; then
	today=$(($(date +%s) / 86400))
	if command -v chage >/dev/null; then
		chage -M -1 -I -1 -d "$today" "$name" >&2 || die "chage failed with exit status $?"
	else
		edit /etc/shadow 3 "$today"
		edit /etc/shadow 5 ''
		edit /etc/shadow 7 ''
	fi
fi
describe "$name"
