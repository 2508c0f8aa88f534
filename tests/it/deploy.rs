//! What `deploy` holds, judged by the tools that it is for.

mod watch;
