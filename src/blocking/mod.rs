//! Thread lanes for what blocks.
