#!/bin/sh
# Breaks the core in known ways, one after the other, and wants the tests to notice each.
#
#     tests/mutants/run.sh [NAME...]      all mutants, or those named
#
# Each NAME.patch changes one behaviour; its first line says which. The patch is applied to a copy of the tree, which must
# still compile, and then the tests of the core - unit tests, the exhaustive search, the simulation - must fail.
set -u
cd "$(dirname "$0")/../.." || exit 1
here=$PWD
copy=$here/target/mutants/tree
CARGO_TARGET_DIR=$here/target/mutants/build
export CARGO_TARGET_DIR

rm -rf "$copy" && mkdir -p "$copy" || exit 1
# What is in the working tree, as far as git knows of it or would.
git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - | tar -xf - -C "$copy" || exit 1
cd "$copy" || exit 1

suites="--test model"
test -e tests/sim.rs && suites="$suites --test sim"

# A failure of the unmutated tree would be taken for a caught mutant.
build() { cargo test --locked --lib $suites --no-run; }
check() { cargo test --locked --lib supervisor && cargo test --locked $suites; }
log=$here/target/mutants/log
if ! { build && check; } >"$log" 2>&1; then
	echo "the tests fail without any mutant, see $log" >&2
	exit 1
fi

names=$*
test -n "$names" || names=$(cd tests/mutants && ls -- *.patch | sed 's/\.patch$//')
survivors=0
for name in $names; do
	patch=$here/tests/mutants/$name.patch
	if ! patch -p1 -s -f --no-backup-if-mismatch <"$patch" >"$log" 2>&1; then
		echo "$name: does not apply any more"
		survivors=$((survivors + 1))
		patch -R -p1 -s -f <"$patch" >/dev/null 2>&1
		continue
	fi
	if ! build >"$log" 2>&1; then
		echo "$name: does not compile, see $log"
		exit 1
	elif check >"$log" 2>&1; then
		echo "$name: SURVIVED: $(head -n 1 "$patch")"
		survivors=$((survivors + 1))
	else
		echo "$name: caught by $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | head -n 1)"
	fi
	patch -R -p1 -s -f --no-backup-if-mismatch <"$patch" || exit 1
done
echo "$survivors survived"
test "$survivors" -eq 0
