//! The settings of the process, by ticket. They belong to no loop: each look at them is under one lock, and a
//! connection takes what was built of them along.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Config, Settings};
use crate::error::{Error, LentError, Refusal};
use crate::table::{Id, Kind, Table};

struct Handle {
    settings: Settings,
    /// The first thing that was wrong: it stays, and so do the settings.
    mistake: Option<LentError>,
    /// Why they cannot be used as they are; a change may cure it.
    lack: Option<LentError>,
}

static HANDLES: Mutex<Option<Table<Handle>>> = Mutex::new(None);

fn handles() -> MutexGuard<'static, Option<Table<Handle>>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A ticket; when there is no place for one more, one that is stale from the start. Never NULL: as an option, NULL would
/// mean to do without TLS.
pub fn new(settings: Settings) -> usize {
    let mut handles = handles();
    let table = handles.get_or_insert_with(|| Table::new(Kind::Tls, 0, 0));
    let handle = Handle { settings, mistake: None, lack: None };
    table.insert(handle).map_or_else(never, Id::number)
}

/// A ticket of no settings.
pub fn never() -> usize {
    Table::<Handle>::never(Kind::Tls)
}

/// What goes wrong is kept for [`error`].
pub fn change(number: usize, change: impl FnOnce(&mut Settings) -> Result<(), Error>) -> Result<(), Refusal> {
    let mut handles = handles();
    let handle = handles.as_mut().and_then(|table| table.get_mut(Id::from_number(number)));
    let handle = handle.ok_or(Refusal::Stale)?;
    if !Settings::POSSIBLE {
        return Err(Refusal::Unsupported);
    }
    handle.lack = None;
    change(&mut handle.settings).map_err(|error| {
        handle.mistake.get_or_insert_with(|| error.into());
        Refusal::Invalid
    })
}

/// What connections need; built once, and again after a change.
pub fn config(number: usize) -> Result<Config, Refusal> {
    let mut handles = handles();
    let handle = handles.as_mut().and_then(|table| table.get_mut(Id::from_number(number)));
    handle.ok_or(Refusal::Stale)?.config()
}

impl Handle {
    fn config(&mut self) -> Result<Config, Refusal> {
        if self.mistake.is_some() {
            return Err(Refusal::Invalid);
        }
        self.settings.config().map_err(|error| {
            self.lack.get_or_insert_with(|| error.into());
            if Settings::POSSIBLE { Refusal::Invalid } else { Refusal::Unsupported }
        })
    }
}

/// The ticket of what is wrong with these settings; None: nothing is.
pub fn error(number: usize) -> Result<Option<usize>, Refusal> {
    let mut handles = handles();
    let handle = handles.as_mut().and_then(|table| table.get_mut(Id::from_number(number)));
    let wrong = handle.ok_or(Refusal::Stale)?.config().is_err();
    Ok(wrong.then(|| Id::<Handle>::from_number(number).turned(Kind::Tls, Kind::Error)))
}

/// Looks at the error that a ticket of [`error`] is for. None: it is stale.
pub fn describe<R>(number: usize, look: impl FnOnce(&LentError) -> R) -> Option<R> {
    let number = Id::<Handle>::from_number(number).turned(Kind::Error, Kind::Tls);
    let handles = handles();
    let handle = handles.as_ref()?.get(Id::from_number(number))?;
    handle.mistake.as_ref().or(handle.lack.as_ref()).map(look)
}

/// For `eddy_repr`.
pub fn repr(number: usize) -> Option<String> {
    let handles = handles();
    let handle = handles.as_ref()?.get(Id::from_number(number))?;
    let what = handle.settings.repr();
    Some(match handle.mistake.as_ref().or(handle.lack.as_ref()) {
        Some(wrong) => format!("<eddy_tls {what}, {}>", wrong.error),
        None => format!("<eddy_tls {what}>"),
    })
}

/// Connections that use them go on with what they have.
pub fn free(number: usize) -> Result<(), Refusal> {
    let gone = handles().as_mut().and_then(|table| table.remove(Id::from_number(number)));
    gone.map(drop).ok_or(Refusal::Stale)
}
