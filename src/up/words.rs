//! What the supervisor says to the person who started it. Nobody may be there any more to hear it: a closed pipe or a
//! full disk behind it must not end what serves apps.

use std::fmt::Display;
use std::io::Write as _;

pub(super) fn say(words: impl Display) {
    let _ = writeln!(std::io::stdout(), "{words}");
}

pub(super) fn warn(words: impl Display) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
