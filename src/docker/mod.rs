//! Docker engines: the client, the supervisor, discovery, and the fake engine of demo and tests. Only this
//! module knows Docker's JSON.

pub mod fake;
pub mod model;
pub mod report;

pub use model::{Container, Network, Port, Protocol, RunState};
pub use report::{EngineState, Report};
