//! HTTP/1.1 on the wire: pure parsing and writing, no socket.
