# Makes the user $name, or nothing.

account "$name"
[ "$origin" = absent ] || exit 80
made_user= made_home=
undo() {
	status=$?
	trap - EXIT
	[ "$status" = 0 ] && exit 0
	if [ -n "$made_home" ]; then
		rmdir "./${want_home##*/}" >&2
	fi
	if [ -n "$made_user" ]; then
		if command -v userdel >/dev/null; then userdel "$name"; else deluser "$name"; fi >&2
		if [ "$want_group" = "$name" ] && [ -n "$(entry /etc/group "$name")" ]; then
			if command -v groupdel >/dev/null; then groupdel "$name"; else delgroup "$name"; fi >&2
		fi
	fi
	exit "$status"
}

group=$(entry /etc/group "$want_group") || die "cannot read /etc/group"
if [ -z "$group" ] && command -v getent >/dev/null; then
	group=$(getent group "$want_group") || [ $? = 2 ] || die "getent group failed"
fi
if [ "$want_group" = "$name" ]; then
	[ -z "$group" ] || exit 81
else
	[ -n "$group" ] || exit 82
fi
[ -f "$want_shell" ] && [ -x "$want_shell" ] || die "the shell $want_shell does not exist or cannot be run: sshd would refuse the user"
left_uid=
if [ -e "$want_home" ] || [ -L "$want_home" ]; then
	was_left "$want_home" || exit 83
fi
enter_parent "$want_home"

trap undo EXIT
trap 'exit 1' HUP INT TERM PIPE
if command -v useradd >/dev/null; then
	made_user=yes
	# A password that nobody has is not to grow old: PAM would refuse the key with it.
	if [ "$want_group" = "$name" ]; then set -- -U; else set -- -g "$want_group"; fi
	[ -z "$left_uid" ] || set -- "$@" -u "$left_uid"
	useradd -M -d "$want_home" -s "$want_shell" -c "$want_gecos" -p '*' -e '' -f -1 -K PASS_MAX_DAYS=-1 "$@" "$name" >&2 || {
		status=$?
		if [ "$status" = 9 ]; then # somebody else made it, or its group, meanwhile
			made_user=
			account "$name"
			[ "$origin" = absent ] || exit 80
		fi
		die "useradd failed with exit status $status"
	}
elif adduser --help 2>&1 | grep -q BusyBox; then
	made_user=yes
	if [ "$want_group" = "$name" ]; then set --; else set -- -G "$want_group"; fi
	[ -z "$left_uid" ] || set -- "$@" -u "$left_uid"
	adduser -D -H -h "$want_home" -s "$want_shell" -g "$want_gecos" "$@" "$name" >&2 || {
		status=$?
		account "$name"
		[ "$origin" = local ] && [ "$gecos" = "$want_gecos" ] || made_user=
		die "adduser failed with exit status $status"
	}
	printf '%s:*\n' "$name" | chpasswd -e >&2 || die "chpasswd failed"
else
	die "neither useradd nor the adduser of busybox was found: install the package passwd, shadow or shadow-utils"
fi
account "$name"
[ "$origin" = local ] && [ "$uid" -gt 0 ] && [ "$home" = "$want_home" ] && [ "$shell" = "$want_shell" ] && [ "$gecos" = "$want_gecos" ] ||
	die "the user was created, but not as requested: $line"
if [ -z "$left_uid" ]; then
	make_home "$want_home"
else
	[ "$uid" = "$left_uid" ] || die "the user did not get the uid $left_uid, which owns the files in $want_home"
	rm -f "$want_home/$left_mark" || die "cannot take over $want_home"
fi
facts=$(describe "$name")
case $facts in
*'password none'*) ;;
*) die "the password of the new user is not *, so sshd might refuse its keys" ;;
esac
trap - EXIT
[ -z "$left_uid" ] || printf 'taken yes\n'
printf '%s\n' "$facts"
