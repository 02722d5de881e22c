//! Listeners and sockets on the runtime, and what a coroutine asks of the blocking lanes.

mod dns;
mod lane;
mod listen;
mod owner;
mod stream;
pub mod tls;

pub use self::dns::resolve;
pub use self::lane::lane_run;
pub use self::listen::{BindError, BoundListener, Listener, Reserved, bind, bind_over, reserve};
pub use self::owner::Owner;
pub use self::stream::Stream;
