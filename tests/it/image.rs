//! DAGs that were baked into an image: sealed, tampered with, and compared with what others say.

mod baked;
mod faults;
mod faulty;
mod faulty_run;
mod once;
mod places;
mod tampered;
mod watched;
