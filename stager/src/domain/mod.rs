//! What the stager decides, without I/O: how a request becomes a task ([`compose`]), how a task's
//! end becomes an answer ([`interpret`]), and the two documents that the stager and the builder in
//! the container exchange ([`build`]).

pub mod build;
pub mod buildpacks;
pub mod compose;
pub mod interpret;
