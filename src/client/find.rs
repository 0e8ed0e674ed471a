//! Which manager is meant, and how to reach it.

use std::os::unix::net::UnixStream;

use crate::ask::{Ask, AskVerb};
use crate::error::{Code, Error, Result};
use crate::plan::ControlSpec;
use crate::sys::control::{Endpoint, candidates, connect, endpoint, forbidden, looked_at, running};

/// Where a worker finds the socket of its manager.
const WORKER_VARIABLE: &str = "EINHORN_SOCK_PATH";

/// Connects to the manager of that name, at that socket, or to the only one there is. An ack that names none goes to
/// the manager of the worker that runs us.
///
/// # Errors
/// [`Code::NotRunning`] if none answers; [`Code::Usage`] with their names if several run and none was named.
pub(super) fn manager(ask: &Ask) -> Result<UnixStream> {
    match (&ask.control, &ask.name, &ask.verb) {
        (Some(path), ..) => connect(&endpoint(&ControlSpec::Path(path.clone()), "")?),
        (None, Some(name), _) => connect_by_name(name),
        (None, None, AskVerb::Ack(_)) => match std::env::var_os(WORKER_VARIABLE) {
            Some(path) => connect(&endpoint(&ControlSpec::Path(path.into()), "")?),
            None => connect(&only(running())?),
        },
        (None, None, _) => connect(&only(running())?),
    }
}

fn connect_by_name(name: &str) -> Result<UnixStream> {
    let places = candidates(name)?;
    for place in &places {
        match connect(place) {
            Err(error) if error.code == Code::NotRunning => {}
            answer => return answer,
        }
    }
    forbidden_to_ask(Some(name))?;
    let others: Vec<String> = running().into_iter().map(|(name, _)| name).collect();
    let others = if others.is_empty() { String::new() } else { format!("; running: {}", others.join(", ")) };
    Err(not_running(format!("no remuda {name:?} is running (looked at {}){others}", list(&places))))
}

/// The one that runs, if it is one.
fn only(mut running: Vec<(String, Endpoint)>) -> Result<Endpoint> {
    if running.len() > 1 {
        let names: Vec<String> = running.into_iter().map(|(name, _)| name).collect();
        return Err(Error::usage(format!(
            "several are running: {}: say which one with --name",
            names.join(", ")
        )));
    }
    match running.pop() {
        Some((_, endpoint)) => Ok(endpoint),
        None => forbidden_to_ask(None).and_then(|()| {
            Err(not_running(format!("no remuda is running (looked at {})", looked_at().join(", "))))
        }),
    }
}

/// It is not that nobody is there: one is, and is not ours to ask.
fn forbidden_to_ask(name: Option<&str>) -> Result<()> {
    match forbidden(name) {
        None => Ok(()),
        Some((name, place, uid)) => {
            let message =
                format!("remuda {name:?} runs as uid {uid} ({place}), and only that user may ask it");
            Err(Error { code: Code::Refused, message })
        }
    }
}

fn list(places: &[Endpoint]) -> String {
    places.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(", ")
}

fn not_running(message: String) -> Error {
    Error { code: Code::NotRunning, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str) -> (String, Endpoint) {
        (name.to_owned(), Endpoint::Abstract(name.into()))
    }

    #[test]
    fn the_only_one_needs_no_name_and_several_are_listed() {
        assert_eq!(only(vec![instance("web")]), Ok(Endpoint::Abstract("web".into())));
        let error = only(vec![instance("api"), instance("web")]).expect_err("two are running");
        assert_eq!(error.code, Code::Usage);
        assert_eq!(error.message, "several are running: api, web: say which one with --name");
        let error = only(Vec::new()).expect_err("none is running");
        assert_eq!(error.code, Code::NotRunning);
        assert!(error.message.contains("/*)"), "{error}");
    }

    #[test]
    fn a_name_that_nobody_has_is_not_running() {
        let error = connect_by_name("nobody has this name").expect_err("nobody has it");
        assert_eq!(error.code, Code::NotRunning);
        assert!(
            error.message.starts_with(r#"no remuda "nobody has this name" is running (looked at "#),
            "{error}"
        );
    }
}
