//! A file to begin with, printed from the table of keys. Pure.

use super::keys::{KEYS, Key, Table, Usual};

/// What `remuda sample-config` prints: every key with what it is for, those that may be left out as comments.
pub fn sample() -> String {
    let mut page = String::from(
        "\
# Groups for 'remuda run -c FILE'; 'remuda check FILE' tells what is wrong with it.
# A key in a comment shows its default, or an example where it has none.
# Everything about each key is in remuda.toml(5).

# The manager itself. All of it may be left out.
[remuda]
",
    );
    rows(&mut page, Table::Manager);
    page += "
# A group: workers of one program. Its name is used in 'remuda status', 'remuda upgrade web'
# and so on. There may be as many groups as you like.
[web]
";
    rows(&mut page, Table::Group);
    page
}

fn rows(page: &mut String, table: Table) {
    for key in KEYS.iter().filter(|key| key.table == table) {
        *page += &row(key);
    }
}

fn row(key: &Key) -> String {
    let mark = if matches!(key.usual, Usual::Required(_)) { "" } else { "#" };
    let unit = key.kind.unit().map(|unit| format!(" ({unit})")).unwrap_or_default();
    format!("# {}{unit}\n{mark}{} = {}\n", key.brief, key.name, key.usual.sample())
}
