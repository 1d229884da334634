//! What exactly is wrong with an instance that could not be asked, read from the error's causes.
//!
//! TLS says it in two places: the handshake ends with an error, or (who the router is, in TLS 1.3) the
//! first answer is an alert.

use crate::domain::refusal::EndpointFault;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::error::Error;
use std::io;

/// What an error of a TLS handshake says about the instance.
pub fn of_handshake(error: &io::Error) -> EndpointFault {
    told_by(error).unwrap_or(EndpointFault::Handshake)
}

/// What an error of a connection over TLS says about it.
pub fn of_exchange(error: &(dyn Error + 'static)) -> EndpointFault {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<io::Error>().and_then(told_by) {
            return fault;
        }
        cause = error.source();
    }
    EndpointFault::Broken
}

fn told_by(error: &io::Error) -> Option<EndpointFault> {
    match error.get_ref()?.downcast_ref::<TlsError>()? {
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(EndpointFault::OtherIdentity),
        TlsError::InvalidCertificate(_) => Some(EndpointFault::Untrusted),
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => Some(EndpointFault::WantsCertificate),
        _ => Some(EndpointFault::Handshake),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_is_wrong() {
        let of = |error: TlsError| of_handshake(&io::Error::other(error));
        let name = TlsError::InvalidCertificate(CertificateError::NotValidForName);
        assert_eq!(of(name.clone()), EndpointFault::OtherIdentity);
        let issuer = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(of(issuer), EndpointFault::Untrusted);
        let wanted = TlsError::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(of(wanted), EndpointFault::WantsCertificate);
        let failed = TlsError::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!(of(failed), EndpointFault::Handshake);
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(of_handshake(&eof), EndpointFault::Handshake);
        assert_eq!(of_exchange(&eof), EndpointFault::Broken);
        assert_eq!(
            of_exchange(&io::Error::other(name)),
            EndpointFault::OtherIdentity
        );
    }
}
