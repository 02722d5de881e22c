//! YAML to types, with places.
