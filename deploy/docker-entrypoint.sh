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

# VAULT_LOCAL_CONFIG is configuration from the environment; it becomes a file beside those that are mounted.
if [ "$1 ${2:-}" = "vault server" ] || [ "$1 ${2:-}" = "coffer server" ]; then
	config_dir=${VAULT_CONFIG_DIR:-/vault/config}
	if [ -n "${VAULT_LOCAL_CONFIG:-}" ]; then
		(umask 077 && printf '%s\n' "$VAULT_LOCAL_CONFIG" >"$config_dir/local.json")
		program=$1
		shift 2
		set -- "$program" server -config="$config_dir" "$@"
	fi
fi

exec "$@"
