//! Why a wish was not granted.

/// The domain's errors. They know nothing of HTTP; texts are for the person who asked and, where Cloud Foundry's
/// clients match on them, are Cloud Foundry's own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} not found")]
    NotFound { what: &'static str },
    #[error("{0}")]
    Unprocessable(String),
    /// A name is taken.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    BadRequest(String),
    /// The platform has no room for this.
    #[error("{0}")]
    NoCapacity(String),
    /// The server's disk would be too full; the text has the figures.
    #[error("{0}")]
    NoRoom(String),
    /// The server's disk is full in the middle of something, which did not happen.
    #[error(
        "E-DISK the server's disk is full; nothing was changed\n  try        slipway gc  |  make room on the server's disk"
    )]
    DiskFull(#[source] anyhow::Error),
    /// The database was in use for too long.
    #[error("the server is busy writing; nothing was changed, try again")]
    Busy(#[source] anyhow::Error),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Unavailable(String),
    /// A fault of the platform; the source is for the log only.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    pub(crate) fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::Internal(source.into())
    }

    /// What went wrong with a file of the server.
    pub fn file(source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull(source.into())
            }
            _ => Self::internal(source),
        }
    }

    pub(crate) fn unprocessable(text: impl Into<String>) -> Self {
        Self::Unprocessable(text.into())
    }
}

/// A store's error that no use case expected.
impl From<store::Error> for Error {
    fn from(source: store::Error) -> Self {
        match source {
            store::Error::Reference { .. } => Self::unprocessable(
                "something that this needs was deleted meanwhile, or others still need it; look again",
            ),
            full @ store::Error::Full { .. } => Self::DiskFull(full.into()),
            busy @ store::Error::Busy { .. } => Self::Busy(busy.into()),
            other => Self::internal(other),
        }
    }
}

pub(crate) trait OrNotFound<T> {
    fn or_not_found(self, what: &'static str) -> Result<T, Error>;
}

impl<T> OrNotFound<T> for Result<Option<T>, store::Error> {
    fn or_not_found(self, what: &'static str) -> Result<T, Error> {
        self?.ok_or(Error::NotFound { what })
    }
}

impl<T> OrNotFound<T> for Result<T, store::Error> {
    /// [`store::Error::Missing`] is "not found", everything else is unexpected.
    fn or_not_found(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|error| match error {
            store::Error::Missing => Error::NotFound { what },
            other => other.into(),
        })
    }
}
