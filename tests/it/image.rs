//! DAGs that were baked into an image: sealed, tampered with, and compared with what others say, real registries too.

mod attacks;
mod baked;
mod built;
mod faults;
mod faulty;
mod faulty_run;
mod once;
mod places;
mod registry;
mod retried;
mod same;
mod tampered;
mod watched;
