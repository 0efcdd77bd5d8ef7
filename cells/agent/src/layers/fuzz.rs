//! See [`crate::fuzz`].

use std::path::Path;

use model::droplet::Layer;

pub(crate) fn unpack(packed: &[u8], layer: &Layer, root: &Path) -> Result<(), String> {
    super::unpack::unpack(packed, layer, root, None).map_err(|error| crate::cell::text_of(&error))
}
