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
