//! Immutable routes and endpoints, published by `control`, read by `proxy`.
