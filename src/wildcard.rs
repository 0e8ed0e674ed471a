//! Names with wildcards in them: which groups a verb means. Pure.

/// Whether a word stands for more than itself.
pub fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?'])
}

/// Whether a name is meant by a pattern: `*` stands for any letters or none, `?` for one, everything else for itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // The last star, and where what follows it was tried last.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&letter) if letter == b'?' || letter == name[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match &mut star {
                Some((after, from)) => {
                    *from += 1;
                    (at, seen) = (*after + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&letter| letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_what_they_usually_do() {
        for (pattern, name, meant) in [
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web", true),
            ("web*", "web-eu.1", true),
            ("web*", "api", false),
            ("*", "anything", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?eb", "web", true),
            ("?eb", "eb", false),
            ("*-eu-*", "web-eu-1", true),
            ("*-eu-*", "web-eu", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**x", "x", true),
        ] {
            assert_eq!(matches(pattern, name), meant, "{pattern} {name}");
        }
        assert!(is_pattern("web?") && is_pattern("*") && !is_pattern("web-1.2_x"));
    }

    #[test]
    fn many_stars_cost_no_more_than_length_times_length() {
        assert!(!matches(&("*a".repeat(50) + "c"), &"a".repeat(10_000)));
    }
}
