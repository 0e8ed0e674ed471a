#!/bin/sh
# Real servers under remuda, each with the command line that README.md shows for it: upgraded twice under load without a
# failed request, one worker killed, stopped with a request in hand, nothing left behind (see trial.rs).
#
# Wants the release binaries. A server that is not here is told of with a line `skipped: NAME: why`.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
target=${CARGO_TARGET_DIR:-$root/target}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mkdir "$scratch/bin"
PATH=$scratch/bin:$scratch/venv/bin:$target/axum/debug:$PATH:/usr/sbin
export PATH PYTHONDONTWRITEBYTECODE=1
failed=

# The rows of README.md's table of servers, as `NAME|COMMAND LINE`.
sed -n 's/^| \([^|]*\) | `\(remuda .*\)` |$/\1|\2/p' "$root/README.md" >"$scratch/lines"

# try NAME: runs the command line that README.md has for it.
try() {
	echo "== $1"
	line=$(sed -n "s/^$1|//p" "$scratch/lines")
	sed -i "/^$1|/d" "$scratch/lines"
	echo "$line"
	if ! eval '"$target/release/examples/trial" --site "$here/site" --' "$line"; then
		failed="$failed '$1'"
	fi
}

# skip NAME WHY
skip() {
	sed -i "/^$1|/d" "$scratch/lines"
	echo "skipped: $1: $2"
}

# with PROGRAM NAME...: tries each if there is the program, else skips them.
with() {
	program=$1
	shift
	for name; do
		if command -v "$program" >/dev/null; then
			try "$name"
		else
			skip "$name" "no $program"
		fi
	done
}

# The servers of Python, in an environment of their own.
if ! command -v python3 >/dev/null; then
	why="no python3"
elif ! python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1; then
	why="python3 -m venv does not work: $(tail -n 1 "$scratch/log")"
elif ! pip install --quiet --disable-pip-version-check uvicorn gunicorn hypercorn >"$scratch/log" 2>&1; then
	why="pip install: $(tail -n 1 "$scratch/log")"
else
	why=
fi
for name in uvicorn gunicorn 'gunicorn, by number' hypercorn; do
	if [ -z "$why" ]; then try "$name"; else skip "$name" "$why"; fi
done

with node node
with nginx nginx

if perl -MPlack::Handler::Starlet -e 1 2>/dev/null; then
	with plackup Starlet
else
	skip Starlet "no Starlet for perl"
fi

# Its dependencies are its own, and come with the first build of it.
if ${CARGO:-cargo} build --quiet --locked --manifest-path "$here/axum/Cargo.toml" --target-dir "$target/axum"; then
	try axum
else
	skip axum "it cannot be built"
fi

if [ -s "$scratch/lines" ]; then
	echo "README.md shows what is not tried:"
	cat "$scratch/lines"
	exit 1
fi
if [ -n "$failed" ]; then
	echo "failed:$failed"
	exit 1
fi
echo "all servers were upgraded without a failed request"
