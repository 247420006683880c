# Prints what decides whether $name may open a tunnel: the user, and sshd's settings.

describe "$name"
[ "$origin" != absent ] || exit 0
printf 'groups %s\n' "$(id -Gn "$name")"
[ ! -e /etc/nologin ] && [ ! -e /run/nologin ] || printf 'nologin yes\n'
if settings=$(effective); then
	printf '%s\n' "$settings" | sed 's/^/sshd /'
else
	[ "$(id -u)" = 0 ] || settings='only root can ask sshd for its settings'
	printf 'unknown %s\n' "$(printf '%s' "$settings" | tr '\n' ' ')"
fi
