//! What `deploy` holds, used as it stands there.

mod image;
