#!/bin/sh
# Breaks the core in known ways, one after the other, and wants the tests to notice each.
#
#     tests/mutants/run.sh [NAME...]      all mutants, or those named
#     tests/mutants/run.sh --tenth N      every tenth of them, from the one of number N on
#
# Each NAME.patch changes one behaviour; its first line says which. The patch is applied to a copy of the tree, which must
# still compile, and then the tests of the core must fail. Which of them do is told: the exhaustive search (model), the
# simulation (sim), and, only where neither does, the unit tests.
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

# A failure of the unmutated tree would be taken for a caught mutant.
build() { cargo test --locked --lib --test model --test sim --no-run; }
# Seeds of failures that mutants brought about are none to keep.
simulate() { cargo test --locked --test sim; result=$?; cp "$here/tests/sim.regressions" tests/; return $result; }
search() { cargo test --locked --test model; }
check_units() { cargo test --locked --lib supervisor; }
log=$here/target/mutants/log
if ! { build && search && simulate && check_units; } >"$log" 2>&1; then
	echo "the tests fail without any mutant, see $log" >&2
	exit 1
fi

first_failed() { echo "($(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | head -n 1))"; }

names=$*
all=$(cd tests/mutants && ls -- *.patch | sed 's/\.patch$//')
case ${1-} in
--tenth) names=$(echo "$all" | awk -v first="$((${2:?a number} % 10))" '(NR - 1) % 10 == first') ;;
'') names=$all ;;
esac
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
	fi
	caught=
	search >"$log" 2>&1 || caught="model $(first_failed)"
	simulate >"$log" 2>&1 || caught="${caught:+$caught and }sim $(first_failed)"
	test -n "$caught" || check_units >"$log" 2>&1 || caught="unit tests only $(first_failed)"
	if test -n "$caught"; then
		echo "$name: caught by $caught"
	else
		echo "$name: SURVIVED: $(head -n 1 "$patch")"
		survivors=$((survivors + 1))
	fi
	patch -R -p1 -s -f --no-backup-if-mismatch <"$patch" || exit 1
done
echo "$survivors survived"
test "$survivors" -eq 0
