//! The data plane on the cores: a request's way from accept to the access line.
