//! TLS to the API: which certificates are trusted, and what is wrong with one that is not.

use std::error::Error;
use std::sync::Arc;

use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::ui::Ui;

/// The certificate authorities of this machine, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set.
pub(super) fn roots_of_this_machine(ui: &Ui) -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A machine's store may hold some that nobody can read any more.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(
            || "none are installed (package ca-certificates)".to_owned(),
            ToString::to_string,
        );
        ui.warn(format!(
            "no certificate authority can be trusted, so no https server: {why}"
        ));
    }
    roots
}

pub(super) fn config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Why a connection is not a trusted one, and what helps.
#[derive(Debug)]
pub(super) struct Distrust {
    pub(super) reason: String,
    pub(super) hint: &'static str,
}

impl Distrust {
    pub(super) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        const OWN: &str = "SSL_CERT_FILE=/path/of/ca.pem slipway …  for an authority of your own";
        const NAME: &str = "slipway api https://NAME  with a name of the certificate";
        let (reason, hint) = match of_tls(error)? {
            rustls::Error::InvalidCertificate(wrong) => match wrong {
                CertificateError::UnknownIssuer => (
                    "its certificate is from an issuer that this machine does not know".to_owned(),
                    OWN,
                ),
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    ("its certificate is for another host name".to_owned(), NAME)
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                    "its certificate has expired".to_owned(),
                    "renew it, or set this machine's clock",
                ),
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                    "its certificate is not valid yet".to_owned(),
                    "set this machine's clock",
                ),
                other => (format!("its certificate is not accepted: {other}"), OWN),
            },
            rustls::Error::InvalidMessage(_) => (
                "it does not speak TLS".to_owned(),
                "slipway api http://…  if it has none",
            ),
            other => (
                format!("TLS failed: {other}"),
                "look at what the server's TLS allows",
            ),
        };
        Some(Self { reason, hint })
    }
}

/// I/O errors hide what they wrap from `source`.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
