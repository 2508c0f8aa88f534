//! A progress line on a terminal for work that takes longer than a blink.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use dagsync_core::{Progress, ProgressReading};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done by then shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
const INTERVAL: Duration = Duration::from_millis(100);

/// Shows a [`Progress`] until it is dropped; nothing where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Bar(Option<(Sender<()>, JoinHandle<()>)>);

impl Bar {
    /// Starts to show `progress`.
    pub(crate) fn of(progress: &Progress) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (stop, stopped) = mpsc::channel();
        let progress = progress.clone();
        let show = move || {
            if stopped.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                update(&bar, progress.read());
            }
            bar.finish_and_clear();
        };
        Self(std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok().map(|thread| (stop, thread)))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

fn update(bar: &ProgressBar, reading: ProgressReading) {
    let template = if reading.total > 0 { "{msg} {wide_bar} {pos}/{len}" } else { "{spinner} {msg} {pos}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(format!("{} {}", reading.phase, bytesize::ByteSize(reading.bytes)));
    match reading.total {
        0 => bar.unset_length(),
        total => bar.set_length(total),
    }
    bar.set_position(reading.done);
    bar.tick();
}
