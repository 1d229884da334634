//! Why an operation was not done, by meaning. How each is told over HTTP stands in one table,
//! `api/errors.rs`.

use super::quotas::Exceeded;
use crate::blobs::BlobError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing, or the actor may not see it. The noun as clients expect it: `App`.
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("the path or method does not exist")]
    UnknownRequest,
    #[error("no valid token was sent")]
    InvalidToken,
    #[error("nobody is logged in")]
    NotAuthenticated,
    #[error("not authorized")]
    NotAuthorized,
    /// Understood, and not acceptable: a sentence for the user.
    #[error("{0}")]
    Unprocessable(String),
    /// Several such sentences.
    #[error("{}", .0.join("; "))]
    AllUnprocessable(Vec<String>),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    BadQuery(String),
    #[error("{0}")]
    Unparsable(String),
    /// A feature flag is off.
    #[error("the feature {0} is disabled")]
    FeatureDisabled(&'static str),
    #[error("bits may be uploaded only once")]
    BitsAlreadyUploaded,
    /// The package is not acceptable: why.
    #[error("{0}")]
    InvalidBits(String),
    #[error("{0}")]
    TooLarge(String),
    /// A quota does not allow as much: the sentences for the user, and what rules are told.
    #[error("{text}")]
    QuotaExceeded {
        text: String,
        exceeded: Vec<Exceeded>,
    },
    /// Somebody else changed it first.
    #[error("{0}")]
    Conflict(String),
    /// Not now: a sentence for the user.
    #[error("{0}")]
    Unavailable(String),
    #[error(transparent)]
    Store(StoreError),
    #[error("{operation}")]
    Internal {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Refusal {
    pub fn unprocessable<T>(text: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::Unprocessable(text.into()))
    }

    /// The same refusal of what a request names beside its address: that it is not there is the request's fault.
    pub fn if_missing(self, text: impl Into<String>) -> Refusal {
        match self {
            Refusal::NotFound(_) => Refusal::Unprocessable(text.into()),
            refusal => refusal,
        }
    }

    /// The same, naming the application of a manifest it is about.
    pub fn of_application(self, name: &str) -> Refusal {
        let named = |text: String| format!("For application '{name}': {text}");
        match self {
            Refusal::Unprocessable(text) => Refusal::Unprocessable(named(text)),
            Refusal::QuotaExceeded { text, exceeded } => Refusal::QuotaExceeded {
                text: named(text),
                exceeded,
            },
            refusal => refusal,
        }
    }

    pub fn internal<E>(operation: &'static str) -> impl FnOnce(E) -> Refusal
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Refusal::Internal {
            operation,
            source: source.into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Store(error)
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Refusal {
        Refusal::Internal {
            operation: "using the blob store",
            source: Box::new(error),
        }
    }
}

impl From<crate::domain::names::InvalidName> for Refusal {
    fn from(error: crate::domain::names::InvalidName) -> Refusal {
        Refusal::Unprocessable(error.0)
    }
}
