#!/bin/sh
# Entry point of the container image. The official Helm chart of Vault calls it as
#   docker-entrypoint.sh vault server -config=/tmp/storageconfig.hcl …
# and `docker run IMAGE server …` and `docker run IMAGE -dev` work as with Vault's own image.
set -eu

# A command of the server, or flags for it: put the name of the binary in front.
case "${1:-}" in
	"") set -- vault server ;;
	-*) set -- vault server "$@" ;;
	server | status | version | help) set -- vault "$@" ;;
esac

say() { echo "docker-entrypoint: $*" >&2; }

config_dir=${VAULT_CONFIG_DIR:-/vault/config}

# configured reports whether the flags of a server say what it is to read, or that it is a development server.
configured() {
	for flag; do
		case "$flag" in
			-config | -config=* | --config | --config=*) return 0 ;;
			-dev | --dev | -dev=true | --dev=true) return 0 ;;
		esac
	done
	return 1
}

server=
case "$1 ${2:-}" in
	"vault server" | "coffer server") server=$1 ;;
esac
if [ -n "$server" ]; then
	shift 2
	# VAULT_LOCAL_CONFIG is configuration from the environment; it becomes a file beside those that are mounted.
	if [ -n "${VAULT_LOCAL_CONFIG:-}" ]; then
		(umask 077 && printf '%s\n' "$VAULT_LOCAL_CONFIG" >"$config_dir/local.json")
		set -- -config="$config_dir" "$@"
	elif ! configured "$@"; then
		set -- -config="$config_dir" "$@"
	fi
	set -- "$server" server "$@"
fi

# Started as root, hand over what is mounted, and go on as the user vault. Docker makes the folders of bind mounts for
# root. SKIP_CHOWN leaves the folders as they are.
if [ -n "$server" ] && [ "$(id -u)" = 0 ]; then
	if ! setuidgid vault true 2>/dev/null; then
		say "cannot become the user vault (are the capabilities SETUID and SETGID dropped?); coffer runs as root"
		exec "$@"
	fi
	owner=$(id -u vault):$(id -g vault)
	if [ -z "${SKIP_CHOWN:-}" ]; then
		for dir in /vault/data /vault/file /vault/logs; do
			if [ -d "$dir" ] && [ "$(stat -c %u "$dir")" != "${owner%:*}" ]; then
				chown -R "$owner" "$dir" || say "cannot give $dir to the user vault; on the host: chown -R $owner FOLDER"
			fi
		done
		# A configuration need only be readable.
		if ! setuidgid vault sh -c 'for f in "$1" "$1"/*; do [ ! -e "$f" ] || [ -r "$f" ] || exit 1; done' sh "$config_dir"; then
			chown -R "$owner" "$config_dir" ||
				say "the user vault cannot read all of $config_dir; on the host: chown -R $owner FOLDER"
		fi
	fi
	set -- setuidgid vault "$@"
fi

exec "$@"
