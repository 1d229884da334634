//! Why an operation of automation was not done, by meaning; told over HTTP in one place,
//! `api/faults.rs`.

use crate::blobs::BlobError;
use crate::ops::Refusal;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The sentence says what was looked for.
    #[error("{0}")]
    NotFound(String),
    /// Understood, and not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Something of this name is there already: the sentence and its id.
    #[error("{text}")]
    Conflict { text: String, id: String },
    #[error("Unauthorized - One of Token or API key required.")]
    NotAuthenticated,
    /// A token or key that is wrong, expired or switched off: why.
    #[error("Unauthorized - {0}")]
    BadCredentials(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    TooMany(String),
    /// Not now: a sentence for the user.
    #[error("{0}")]
    Unavailable(String),
    /// Not here, and not later: a sentence for the user.
    #[error("{0}")]
    NotSupported(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{operation}")]
    Internal {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Fault {
    pub fn internal<E>(operation: &'static str) -> impl FnOnce(E) -> Fault
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Fault::Internal {
            operation,
            source: source.into(),
        }
    }

    /// StackStorm's words for a name that is taken: scripts look for them.
    pub fn duplicate(noun: &str, reference: &str, id: impl Into<String>) -> Fault {
        Fault::Conflict {
            text: format!(
                "Tried to save duplicate unique keys (E11000 duplicate key error: {noun} \"{reference}\" exists already)"
            ),
            id: id.into(),
        }
    }
}

impl From<BlobError> for Fault {
    fn from(error: BlobError) -> Fault {
        Fault::internal("using the blob store")(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::Store(error) => Fault::Store(error),
            Refusal::NotFound(noun) => Fault::NotFound(format!("{noun} not found")),
            Refusal::NotAuthenticated => Fault::NotAuthenticated,
            Refusal::InvalidToken => Fault::BadCredentials("the token is invalid".into()),
            Refusal::NotAuthorized => {
                Fault::Forbidden("You are not authorized to perform the requested action".into())
            }
            Refusal::Unavailable(text) => Fault::Unavailable(text),
            Refusal::TooLarge(text) => Fault::TooLarge(text),
            Refusal::Internal { operation, source } => Fault::Internal { operation, source },
            other => Fault::Invalid(other.to_string()),
        }
    }
}
