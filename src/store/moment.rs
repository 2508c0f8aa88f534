//! The moments between two steps of a holder, at which its process may be stopped for as long as it takes; tests do that.

#[cfg(not(test))]
#[derive(Debug, Default)]
pub(super) struct Moments(());

#[cfg(not(test))]
impl Moments {
    #[inline]
    pub(super) const fn pass(&self) {}
}

#[cfg(test)]
pub(super) use stopping::Moments;

#[cfg(test)]
mod stopping {
    use std::sync::Mutex;

    type Act = Box<dyn FnOnce() + Send>;

    /// Stops a holder at one of its moments, to let others act.
    #[derive(Default)]
    pub(in crate::store) struct Moments(Mutex<(usize, Option<Act>)>);

    impl Moments {
        /// Lets `act` happen at the `nth` moment from now, the first being 0.
        pub(in crate::store) fn stop_at(&self, nth: usize, act: impl FnOnce() + Send + 'static) {
            *self.0.lock().unwrap() = (nth, Some(Box::new(act)));
        }

        /// Whether that moment has not come.
        pub(in crate::store) fn is_ahead(&self) -> bool {
            self.0.lock().unwrap().1.is_some()
        }

        pub(in crate::store) fn pass(&self) {
            let mut next = self.0.lock().unwrap();
            let act = if next.0 == 0 { next.1.take() } else { None };
            next.0 = next.0.saturating_sub(1);
            drop(next);
            if let Some(act) = act {
                act();
            }
        }
    }

    impl std::fmt::Debug for Moments {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Moments")
        }
    }
}
