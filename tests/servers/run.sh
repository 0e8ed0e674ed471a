#!/bin/sh
# Real servers under remuda, upgraded three times under load: no request may fail, and each must stop by itself when
# it is asked to. Wants the release binaries, and network access or a wheel directory for pip.
#
# A server that is not here is told of with a line `skipped: NAME: why`.
set -u

here=$(cd "$(dirname "$0")" && pwd)
built=${CARGO_TARGET_DIR:-$here/../../target}/release
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
failed=

# check NAME ARGUMENTS-OF-SOAK...
check() {
	name=$1
	shift
	echo "== $name"
	# uvicorn and gunicorn cannot say when they are ready: a second and a half is plenty for them.
	if ! "$built/examples/soak" --seconds 18 --every 5 --ack timer:1500ms "$@"; then
		failed="$failed $name"
	fi
}

skip() {
	echo "skipped: $1: $2"
}

# install NAME...: installs them into the scratch environment, or says why not.
install() {
	if ! command -v python3 >/dev/null; then
		why="no python3"
	elif ! python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1; then
		why="python3 -m venv does not work: $(tail -n 1 "$scratch/log")"
	elif ! "$scratch/venv/bin/pip" install --quiet --disable-pip-version-check "$@" >"$scratch/log" 2>&1; then
		why="pip install $*: $(tail -n 1 "$scratch/log")"
	else
		return 0
	fi
	return 1
}

check listenfd -- "$built/examples/listenfd_worker"

if install uvicorn gunicorn; then
	check uvicorn --slow /slow -- "$scratch/venv/bin/uvicorn" --fd 3 --app-dir "$here" --no-access-log asgi_app:app
	check gunicorn -- "$scratch/venv/bin/gunicorn" --chdir "$here" wsgi_app:app
else
	skip "uvicorn, gunicorn" "$why"
fi

if command -v node >/dev/null; then
	check node --slow /slow -- node "$here/server.js"
else
	skip node "no node"
fi

if [ -n "$failed" ]; then
	echo "failed:$failed"
	exit 1
fi
echo "all servers were upgraded without a failed request"
