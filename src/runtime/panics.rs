//! A panic ends what panicked and nothing else: it is caught, counted, and logged with its place.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static PANICS: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

/// Panics of coroutines and callbacks since the process started.
pub fn panics() -> usize {
    PANICS.load(Ordering::Relaxed)
}

/// Runs `f`; a panic in it is counted. The hook has logged it by then.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(f)) {
        PANICS.fetch_add(1, Ordering::Relaxed);
        // A payload may panic once more when it is dropped; there is no third time.
        if let Err(second) = panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            std::mem::forget(second);
        }
    }
}

/// Makes panics on core threads log their place; those of other threads go to the hook that was there.
pub(crate) fn install_hook() {
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A backtrace or a log line may take more stack than a coroutine has left.
            super::on_core_stack(|| tell(info, &*previous));
        }));
    });
}

fn tell(info: &PanicHookInfo<'_>, previous: &dyn Fn(&PanicHookInfo<'_>)) {
    let core = super::current();
    if core == super::CoreId::NONE || log::max_level() == log::LevelFilter::Off {
        return previous(info);
    }
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    log::error!("panic on core {core} at {place}: {}", message(info.payload()));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("(no message)", String::as_str),
    }
}
