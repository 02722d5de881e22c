//! Build, run, drain: wires everything below.
