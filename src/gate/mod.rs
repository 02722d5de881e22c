//! Parking of requests with a deadline and a count.
