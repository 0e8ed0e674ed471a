//! The known word that somebody who wrote an unknown one may have meant: for error messages. Pure.

/// The word of `known` nearest to `word`: one that begins with it, else the one with the fewest slips of the finger (a
/// letter too many, too few, another, or two swapped), if these are few for its length. Upper and lower case are the same.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let meant: Vec<char> = word.to_lowercase().chars().collect();
    // A word of two letters may have one slip, one of six two.
    let allowed = (meant.len() + 1) / 3;
    known
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let slips = slips(&meant, &letters);
            let begins = meant.len() >= 2 && letters.starts_with(&meant);
            (begins || slips <= allowed).then_some((!begins, slips, candidate))
        })
        .min_by_key(|&(begins_not, slips, _)| (begins_not, slips))
        .map(|(_, _, candidate)| candidate)
}

/// The distance of Damerau and Levenshtein, in its form that edits no substring twice.
fn slips(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["status", "stop", "start", "restart", "upgrade", "scale", "signal"];
        for (word, meant) in [
            ("statsu", Some("status")),
            ("stauts", Some("status")),
            ("UPGRADE", Some("upgrade")),
            ("upgr", Some("upgrade")),
            ("sto", Some("stop")),
            ("retart", Some("restart")),
            ("xyzzy", None),
            ("", None),
            ("s", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word:?}");
        }
    }

    #[test]
    fn counts_slips() {
        let count = |a: &str, b: &str| slips(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("acb", "abc"), 1);
        assert_eq!(count("kitten", "sitting"), 3);
    }
}
