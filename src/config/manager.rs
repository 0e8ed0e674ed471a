//! The table `[remuda]`: what is the manager's own. Pure.

use super::Overrides;
use super::fault::Wrong;
use super::keys::{DEFAULTS, Id, Kind};
use super::value::Value;
use crate::duration;
use crate::plan::LogTarget;
use crate::values;

/// Takes one key. What the command line says as well is read and checked all the same.
pub(super) fn set(said: &mut Overrides, id: Id, value: &Value<'_>) -> Result<(), Vec<Wrong>> {
    match id {
        Id::Defaults => said.defaults = Some(value.read(|text| values::choice(text, &DEFAULTS))?),
        Id::Name => said.name = Some(value.read(values::name)?),
        Id::ControlSocket => {
            said.control = Some(value.read(|text| values::socket_path(text.into()))?);
        }
        Id::Pidfile => said.pidfile = Some(value.read(|text| values::path(text.into()))?),
        Id::LogLevel => said.level = Some(value.read(|text| values::choice(text, &values::LEVELS))?),
        Id::LogFormat => said.format = Some(value.read(|text| values::choice(text, &values::FORMATS))?),
        Id::Syslog => said.target = value.flag()?.then(LogTarget::syslog),
        Id::DrainDelay => said.drain_delay = Some(value.amount(duration::parse)?),
        Id::OnSignal => {
            return value.list_into(&mut said.on_signal, Kind::Text, |value| value.read(values::on_signal));
        }
        Id::Subreaper => said.subreaper = Some(value.flag()?),
        // The table has all others under groups only.
        _ => {}
    }
    Ok(())
}
