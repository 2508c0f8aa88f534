//! DAGs that are baked into real images, and what a real registry says of them.

mod built;
mod registry;
mod same;
