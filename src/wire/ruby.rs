//! Writing YAML as Ruby does (Psych 4, libyaml), to the byte: programs have been seen to look at replies line by line.
//! Pure.

use super::yaml::is_special;

/// libyaml folds at the first space behind this column.
const WIDTH: usize = 80;

/// Words that would be truths to some readers and strings to others.
const YES_OR_NO: [&str; 4] = ["y", "Y", "n", "N"];

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// Appends a string as the value of a key, behind which the line stands at `column`, with its end. What follows on other
/// lines is indented by `indent` spaces.
pub(super) fn string(out: &mut String, text: &str, column: usize, indent: usize) {
    match style(text) {
        Style::Plain => folded(out, text, column + 1, indent, |c| c.to_string()),
        Style::Single => {
            out.push('\'');
            folded(
                out,
                text,
                column + 2,
                indent,
                |c| if c == '\'' { "''".to_owned() } else { c.to_string() },
            );
            out.push('\'');
        }
        Style::Double => {
            out.push('"');
            folded(out, text, column + 2, indent, escaped);
            out.push('"');
        }
        Style::Literal => return literal(out, text, indent),
    }
    out.push('\n');
}

fn style(text: &str) -> Style {
    let inner = text.strip_suffix('\n').unwrap_or(text);
    // Tabs and other white space at the edges of lines would be lost in a block.
    let block = inner.contains('\n') && !text.chars().any(is_unprintable);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    // Of some line of it.
    let marked = text.lines().any(|line| {
        let mut chars = line.chars();
        chars.next().is_some_and(|first| !word(first)) && !chars.as_str().contains('"')
    });
    if block {
        Style::Literal
    } else if text.contains('\n') || text.chars().any(is_unprintable) || marked || YES_OR_NO.contains(&text) {
        Style::Double
    } else if is_special(text) || text.starts_with(':') || leading_zeros(text) || !plain_allowed(text) {
        Style::Single
    } else {
        Style::Plain
    }
}

/// `0777`, which elsewhere would be octal.
fn leading_zeros(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_unprintable(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')
}

/// Whether a text may stand without quotes.
fn plain_allowed(text: &str) -> bool {
    const INDICATORS: &str = "#,[]{}&*!|>'\"%@`";
    let first = text.chars().next().unwrap_or(' ');
    let leads = matches!(first, '-' | '?' | ':') && text[1..].chars().next().is_none_or(char::is_whitespace);
    !(INDICATORS.contains(first)
        || leads
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.ends_with(':')
        || text.contains(": ")
        || text.contains(" #"))
}

/// Appends a text that may be folded where one space stands alone behind [`WIDTH`].
fn folded(out: &mut String, text: &str, column: usize, indent: usize, write: impl Fn(char) -> String) {
    let mut column = column;
    let mut after_space = false;
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let next = chars.peek();
        let fold =
            c == ' ' && !after_space && !first && column > WIDTH && next.is_some_and(|&next| next != ' ');
        if fold {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            let written = write(c);
            column += written.chars().count();
            out.push_str(&written);
        }
        after_space = c == ' ';
        first = false;
    }
}

fn escaped(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\0' => "\\0".to_owned(),
        '\u{1b}' => "\\e".to_owned(),
        c if is_unprintable(c) && u32::from(c) < 0x100 => format!("\\x{:02X}", u32::from(c)),
        c if is_unprintable(c) => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    }
}

/// `|`, then the lines as they are.
fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text.ends_with("\n\n") {
        out.push('+');
    }
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::{self, Yaml};
    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        string(&mut out, text, "message:".len(), 2);
        out
    }

    #[test]
    fn strings_are_written_as_ruby_writes_them() {
        for (text, expected) in [
            ("Upgrade done", "Upgrade done\n"),
            ("", "''\n"),
            ("===> Launched 7 (index: 2)", "\"===> Launched 7 (index: 2)\"\n"),
            ("Smooth upgrade: killing off 1 old workers.", "'Smooth upgrade: killing off 1 old workers.'\n"),
            ("Einhorn is going down! ", "'Einhorn is going down! '\n"),
            ("Invalid signal: \"FOO\"", "'Invalid signal: \"FOO\"'\n"),
            ("Invalid count: '0'. x", "'Invalid count: ''0''. x'\n"),
            ("\n", "\"\\n\"\n"),
            ("n", "\"n\"\n"),
            ("-x", "\"-x\"\n"),
            ("~", "\"~\"\n"),
            ("{a: b}", "\"{a: b}\"\n"),
            (":sym", "\":sym\"\n"),
            ("5", "'5'\n"),
            ("true", "'true'\n"),
            ("2020-01-01", "'2020-01-01'\n"),
            ("a: b", "'a: b'\n"),
            ("worker:ack", "worker:ack\n"),
            ("Sending USR2 to [7]", "Sending USR2 to [7]\n"),
            ("req-1%\n2", "|-\n  req-1%\n  2\n"),
            ("a\n\nb\n", "|\n  a\n\n  b\n"),
            ("a\tb", "\"a\\tb\"\n"),
            ("ä", "ä\n"),
            ("→ b", "\"→ b\"\n"),
            (
                "Can't decrease number of workers (already at 1).  Run kill 18639 if you really want to kill einhorn.",
                "Can't decrease number of workers (already at 1).  Run kill 18639 if you really\n  want to kill einhorn.\n",
            ),
        ] {
            assert_eq!(written(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let texts = [
            "",
            " ",
            "\n",
            "a\nb",
            " a\nb\n",
            "a\n\n",
            "\n\na",
            "\u{1}\n",
            "a\tb\nc",
            "- a",
            "? b",
            "#c",
            "'",
            "\"",
            "\\",
            "a #b",
            "a:",
            "---",
            "--- a",
            "...",
            "%a",
            "@",
            "`",
            "!",
            "&a",
            "*a",
            "|",
            ">",
            "0777",
            "0.1",
            "\u{feff}",
            "\u{2028}",
            "x\r\ny",
            "\u{85}",
            "ä\u{7f}",
            "\"q\" and\nmore",
            "=",
        ];
        let long: Vec<String> =
            (0..30).map(|at| format!("{}word  {}", "x ".repeat(at * 3), "-y: ".repeat(at))).collect();
        for text in texts.into_iter().chain(long.iter().map(String::as_str)) {
            let document = format!("message: {}", written(text));
            let read = yaml::read(&document).unwrap_or_else(|_| panic!("{document:?}"));
            let Some(Yaml::Scalar { text: read, .. }) = read.get("message") else { panic!("{document:?}") };
            assert_eq!(read, text, "{document:?}");
        }
    }
}
