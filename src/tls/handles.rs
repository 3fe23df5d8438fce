//! The settings of the process, by ticket. They belong to no loop: each look at them is under one lock, and a
//! connection takes what was built of them along. Nothing that takes long is done under it.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Config, Settings};
use crate::error::{Error, LentError, Refusal};
use crate::table::{Id, Kind, Table};

struct Handle {
    settings: Settings,
    /// What was built of them, until something changes.
    config: Option<Config>,
    /// How often something did.
    changes: u64,
    /// The first thing that was wrong: it stays, and so do the settings.
    mistake: Option<LentError>,
    /// Why they cannot be used as they are; a change may cure it.
    lack: Option<LentError>,
}

type Handles = MutexGuard<'static, Option<Table<Handle>>>;

static HANDLES: Mutex<Option<Table<Handle>>> = Mutex::new(None);

thread_local! {
    static HELD: Cell<Option<Handles>> = const { Cell::new(None) };
}

fn handles() -> Handles {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that was forked while another thread had the lock would wait for it for ever: so the one that forks has it.
pub fn before_fork() {
    let handles = handles();
    let _ = HELD.try_with(|held| held.set(Some(handles)));
}

/// In the parent, and in the child.
pub fn after_fork() {
    let _ = HELD.try_with(|held| drop(held.take()));
}

/// A ticket; when there is no place for one more, one that is stale from the start. Never NULL: as an option, NULL would
/// mean to do without TLS.
pub fn new(settings: Settings) -> usize {
    let mut handles = handles();
    let table = handles.get_or_insert_with(|| Table::new(Kind::Tls, 0, 0));
    let handle = Handle { settings, config: None, changes: 0, mistake: None, lack: None };
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
    handle.config = None;
    handle.changes += 1;
    change(&mut handle.settings).map_err(|error| {
        handle.mistake.get_or_insert_with(|| error.into());
        Refusal::Invalid
    })
}

/// What connections need; built once, and again after a change.
#[cfg_attr(not(feature = "tls"), allow(unreachable_code))] // there is none then
pub fn config(number: usize) -> Result<Config, Refusal> {
    let (settings, changes) = match handles().as_ref().and_then(|table| table.get(Id::from_number(number))) {
        None => return Err(Refusal::Stale),
        Some(Handle { mistake: Some(_), .. }) => return Err(Refusal::Invalid),
        Some(Handle { config: Some(config), .. }) => return Ok(config.clone()),
        Some(handle) => (handle.settings.clone(), handle.changes),
    };
    // To read whom the system trusts takes many milliseconds.
    let built = settings.build();
    let mut handles = handles();
    if let Some(handle) = handles.as_mut().and_then(|table| table.get_mut(Id::from_number(number)))
        && handle.changes == changes
    {
        match &built {
            // Two threads may have built it: one of them then is everybody's, and so are its sessions.
            Ok(config) => return Ok(handle.config.get_or_insert_with(|| config.clone()).clone()),
            Err(error) => drop(handle.lack.get_or_insert_with(|| error.clone().into())),
        }
    }
    built.map_err(|_| if Settings::POSSIBLE { Refusal::Invalid } else { Refusal::Unsupported })
}

/// The ticket of what is wrong with these settings; None: nothing is.
pub fn error(number: usize) -> Result<Option<usize>, Refusal> {
    let wrong = match config(number) {
        Err(Refusal::Stale) => return Err(Refusal::Stale),
        result => result.is_err(),
    };
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
