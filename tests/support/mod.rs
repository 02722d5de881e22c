//! What tests with real engines share: rooms of their own, engines, the proxy, clients and traffic.
//!
//! Each test binary uses a part of it.
#![allow(dead_code)] // each test binary uses a part
#![allow(clippy::disallowed_methods)] // tests block, and measure deadlines

pub mod api;
pub mod app;
pub mod engine;
pub mod http;
pub mod room;
pub mod tidegate;
pub mod traffic;
pub mod wait;
