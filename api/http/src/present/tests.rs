//! What the JSON looks like.
