//! Socket addresses in the groups file: firestarter's grammar beside remuda's own. Pure.
//!
//! ```text
//! tcp::PORT  tcp::IP:PORT  udp::...  unix::PATH      firestarter's kinds
//! PATH with a `/` in it                              firestarter's Unix path without a kind
//! everything else                                    as on the command line, see `addr.rs`
//! ```
//!
//! Options after commas follow either.

use std::borrow::Cow;

use crate::addr;
use crate::error::{Error, Result};
use crate::plan::SocketSpec;

/// Reads an address with its options.
pub(super) fn parse(text: &str) -> Result<SocketSpec> {
    let own = native(text).map_err(|why| Error::usage(format!("bad address {text:?}: {why}")))?;
    addr::parse(&own).map_err(|error| {
        // The rewritten address would only confuse whoever wrote the other one.
        let prefix = format!("bad address {own:?}: ");
        match error.message.strip_prefix(&prefix) {
            Some(why) => Error::usage(format!("bad address {text:?}: {why}")),
            None => error,
        }
    })
}

/// The same address as remuda writes it.
fn native(text: &str) -> Result<Cow<'_, str>, String> {
    let letters = |kind: &str| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    let place = text.split(',').next().unwrap_or_default();
    if let Some((kind, value)) = text.split_once("::").filter(|(kind, _)| letters(kind)) {
        return match kind {
            "tcp" | "udp" => Ok(Cow::Owned(format!("{kind}://{value}"))),
            "unix" => Ok(Cow::Owned(path(value))),
            _ => Err(format!("unknown kind of socket '{kind}' (tcp, udp, unix)")),
        };
    }
    let own = place.contains("://") || place.starts_with("unix:") || place.starts_with('@');
    if !own && place.contains('/') {
        return Ok(Cow::Owned(path(text)));
    }
    Ok(Cow::Borrowed(text))
}

/// Two slashes are part of the path and not of a scheme.
fn path(path: &str) -> String {
    if path.starts_with("//") { format!("unix://{path}") } else { format!("unix:{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_grammars_are_understood() {
        for (text, told) in [
            ("8080", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("tcp::8080", "127.0.0.1:8080"),
            ("tcp::0.0.0.0:80", "0.0.0.0:80"),
            ("tcp::[::1]:80", "[::1]:80"),
            ("udp::53", "udp://127.0.0.1:53"),
            ("udp::[::]:53", "udp://[::]:53"),
            ("unix::/run/web.sock", "unix:/run/web.sock"),
            ("unix:://run/web.sock", "unix://run/web.sock"),
            ("unix::web.sock", "unix:web.sock"),
            ("/run/web.sock", "unix:/run/web.sock"),
            ("//run/web.sock", "unix://run/web.sock"),
            ("./web.sock", "unix:./web.sock"),
            ("run/web.sock,mode=0660", "unix:run/web.sock"),
            ("unix:/run/web.sock", "unix:/run/web.sock"),
            ("unix:///run/web.sock", "unix:/run/web.sock"),
            ("@web", "unix:@web"),
            ("tcp://localhost:80,name=a/b", "localhost:80"),
            ("127.0.0.1:80,name=a/b", "127.0.0.1:80"),
            (":80", "*:80"),
            ("fd://3", "fd://3"),
        ] {
            let address = parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).address;
            assert_eq!(address.to_string(), told, "{text}");
        }
    }

    #[test]
    fn errors_show_the_address_as_it_was_written() {
        for (text, why) in [
            ("foo::80", "unknown kind of socket 'foo' (tcp, udp, unix)"),
            ("tcp::", "the address is missing"),
            ("tcp::80x", "the port is missing, as in HOST:PORT"),
            ("unix::", "the path is missing"),
            ("/run/web.sock,mode=9", "mode is an octal number up to 0777"),
            ("::1", "an IPv6 address is written in brackets, as in [::1]:80"),
            ("", "the address is missing"),
        ] {
            let message = parse(text).unwrap_err().message;
            assert!(message.starts_with(&format!("bad address {text:?}: ")), "{message}");
            assert!(message.contains(why), "{text}: {message}");
        }
    }
}
