# Prints all that is read of the user $name, and what has become of it.

describe "$name"
[ "$origin" = local ] || exit 0
printf 'groups %s\n' "$(id -Gn "$name")"
[ -d "$home/." ] || exit 0
# A name that holds a line break shows as two: what counts is whether there is any.
files=$(ls -A "$home/.") || files='files that cannot be listed'
[ -z "$files" ] || printf '%s\n' "$files" | head -n 10 | sed 's/^/holds /'
