//! See [`crate::fuzz`].

use std::path::Path;

use model::droplet::Stack;

pub(crate) fn result(out: &Path, stack: &Stack) -> Result<(), String> {
    super::output::read(out, stack, u64::MAX).map(|_| ())
}
