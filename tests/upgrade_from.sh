#!/bin/sh
# Builds the program of an earlier commit, starts it, and has it replace itself by the present one under load: nothing may
# be lost on the way.
#
#     sh tests/upgrade_from.sh REV
set -eu
cd "$(dirname "$0")/.."

if [ $# -ne 1 ] || [ -z "$1" ]; then
	echo "usage: make test-upgrade-from REV=COMMIT" >&2
	exit 2
fi
commit=$(git rev-parse --verify --quiet "$1^{commit}") || {
	echo "there is no commit '$1'" >&2
	exit 2
}

tree=$(mktemp -d)
trap 'git worktree remove --force "$tree" 2>/dev/null || rm -rf "$tree"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
git worktree add --quiet --detach "$tree" "$commit"

target=${CARGO_TARGET_DIR:-$PWD/target}
cargo=${CARGO:-cargo}
# Kept, so that dependencies are built once.
"$cargo" build --locked --manifest-path "$tree/Cargo.toml" --target-dir "$target/earlier"
export REMUDA_EARLIER="$target/earlier/debug/remuda"
"$cargo" test --locked --test run_reexec -- \
	--ignored --exact --nocapture a_manager_of_an_earlier_commit_becomes_this_one
"$cargo" test --locked --test run_einhorn -- \
	--ignored --exact --nocapture upgrade::an_einhorn_of_an_earlier_commit_becomes_this_one
