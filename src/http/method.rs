//! Request methods (RFC 9110 §9).

/// A request method. Names are case-sensitive: `get` is another method than `GET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'b> {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    /// Any other token.
    Other(&'b [u8]),
}

impl<'b> Method<'b> {
    /// Reads a method's name; that it is a token is the caller's to check.
    pub fn from_bytes(name: &'b [u8]) -> Self {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            other => Method::Other(other),
        }
    }

    /// The name as on the wire.
    pub fn as_bytes(&self) -> &'b [u8] {
        match self {
            Method::Get => b"GET",
            Method::Head => b"HEAD",
            Method::Post => b"POST",
            Method::Put => b"PUT",
            Method::Delete => b"DELETE",
            Method::Options => b"OPTIONS",
            Method::Patch => b"PATCH",
            Method::Other(name) => name,
        }
    }

    /// Whether the request may be sent again after it may have arrived (RFC 9110 §9.2.2). Unknown methods
    /// aren't.
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options)
    }

    /// Whether the answer has no body whatever its fields say.
    pub fn is_head(&self) -> bool {
        matches!(self, Method::Head)
    }
}
