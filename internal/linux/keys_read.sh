# Run as the user whose keys they are, so that nothing is reached that is not the user's.

me=$(id -u)

# enter PURPOSE changes into the directory of the keys, through no symbolic link. To write,
# it makes that; to read, it returns 1 if there is none.
enter() {
	cd -P "$home" || {
		case $1:$(stat "$home" 2>&1) in
		read:*'No such file'*) return 1 ;;
		esac
		die "cannot enter the home directory $home"
	}
	rest=$directory
	while [ -n "$rest" ]; do
		part=${rest%%/*}
		case $rest in
		*/*) rest=${rest#*/} ;;
		*) rest= ;;
		esac
		here=$(pwd -P)
		here=${here%/}/$part
		if [ ! -e "$part" ] && [ ! -L "$part" ]; then
			[ "$1" = write ] || return 1
			mkdir -m 700 "$part" 2>/dev/null || [ -d "$part" ] || die "cannot create $here: the home directory must belong to the user"
			if command -v restorecon >/dev/null; then restorecon "$part" >/dev/null 2>&1 || :; fi
		fi
		[ ! -L "$part" ] || die "$here is a symbolic link. The provider does not follow it, because its target may belong to another user. Replace it with a directory"
		[ -d "$part" ] || die "$here is not a directory"
		cd -P "$part" || die "cannot enter $here"
		[ "$(pwd -P)" = "$here" ] || die "$here was replaced during the operation"
		belongs "$1" . "$here"
	done
}

# belongs PURPOSE FILE PATH ends this unless a file is the user's or, to be read, root's.
belongs() {
	owner=$(stat -c %u "$2") || die "cannot inspect $3"
	[ "$owner" = "$me" ] || [ "$1:$owner" = read:0 ] || die "$3 belongs to another user: make this user its owner (chown)"
}

# look PURPOSE sets now to what stands for the content of the file, or to absent.
look() {
	now=absent
	[ ! -L "$file" ] || die "$(pwd)/$file is a symbolic link. The provider does not follow it, because its target may belong to another user. Replace it with a file"
	[ -e "$file" ] || return 0
	[ -f "$file" ] || die "$(pwd)/$file is not a regular file"
	belongs "$1" "$file" "$(pwd)/$file"
	[ -r "$file" ] || die "cannot read $(pwd)/$file"
	[ "$(wc -c <"$file")" -le 1048576 ] || die "$(pwd)/$file is larger than 1 MiB, which is too large for a list of keys"
	now=$(sha256sum <"$file") || die "cannot read $(pwd)/$file"
	now=${now%% *}
}

show() {
	if [ "$now" = absent ]; then
		printf 'absent\n'
	else
		printf 'present %s\n' "$(stat -c %a "$file")"
		base64 <"$file" || die "cannot read $(pwd)/$file"
	fi
}

die() {
	printf '%s\n' "$*" >&2
	exit 1
}
