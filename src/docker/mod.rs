//! Docker engines: the client, the supervisor, discovery, and the fake engine of demo and tests. Only this
//! module knows Docker's JSON.

pub mod api;
pub mod backlog;
pub mod client;
pub mod discovery;
pub mod fake;
#[doc(hidden)] // for the fuzz target `docker`
pub mod json;
pub mod model;
pub mod own;
pub mod report;
mod socket;
pub mod supervisor;
mod transport;
pub mod url;

pub use backlog::{Backlog, Mark};
pub use model::{Container, Network, Port, Protocol, RunState};
pub use own::own_container_id;
pub use report::{EngineState, Identity, Report};
pub use supervisor::{Clients, OnStaleSocket, Supervisor, SupervisorConfig, Timings, clients, supervise};
pub use url::{ClientKey, EngineUrl};
