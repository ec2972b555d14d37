//! Whom a connection trusts: the machine's authorities, those of a bundle besides, or, where the plan says so, anybody.
//!
//! Knows neither sockets nor requests.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;

use crate::cluster::install_crypto;
use crate::failure::Failure;

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// Certificates in PEM that are trusted besides the machine's.
    pub(crate) authorities: Vec<u8>,
    /// Whether any certificate is good.
    pub(crate) anybody: bool,
}

static CONFIGS: LazyLock<Mutex<HashMap<Trust, Arc<ClientConfig>>>> = LazyLock::new(Mutex::default);

impl Trust {
    /// What a plan's options say.
    pub(crate) async fn read(bundle: Option<&PathBuf>, anybody: bool) -> Result<Self, Failure> {
        let authorities = match bundle {
            Some(path) => read_file(path).await?,
            None => Vec::new(),
        };
        Ok(Self { authorities, anybody })
    }

    /// The settings of TLS, made once: reading the machine's authorities takes longer than a request.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut configs = CONFIGS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(self) {
            return Ok(Arc::clone(config));
        }
        install_crypto();
        let config = Arc::new(self.build().map_err(|why| {
            Failure::invalid(format!("cannot prepare TLS: {why}")).fix("check the certificates in `ca_bundle`")
        })?);
        configs.insert(self.clone(), Arc::clone(&config));
        Ok(config)
    }

    fn build(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder();
        let provider = Arc::clone(builder.crypto_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.anybody {
            true => Arc::new(Anybody(provider)),
            false => Arc::new(
                Verifier::new_with_extra_roots(self.certificates()?, provider).map_err(|error| error.to_string())?,
            ),
        };
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.authorities).collect();
        match read {
            Ok(found) if found.is_empty() && !self.authorities.is_empty() => {
                Err("there is no certificate in it".to_owned())
            }
            other => other.map_err(|error| error.to_string()),
        }
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    crate::files::read_aside(path)
        .await
        .map_err(|error| Failure::invalid(format!("cannot read the certificates `{}`: {error}", path.display())))
}

/// Takes any certificate, but still wants its owner at the other end.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_told() {
        let trust = Trust { authorities: b"no certificate\n".to_vec(), anybody: false };
        let failure = trust.config().expect_err("nothing in it");
        assert!(failure.what.contains("no certificate in it"), "{}", failure.what);
    }

    #[test]
    fn the_settings_are_made_once() {
        let trust = Trust { authorities: Vec::new(), anybody: true };
        assert!(Arc::ptr_eq(&trust.config().expect("made"), &trust.config().expect("kept")));
    }
}
