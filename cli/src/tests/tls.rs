//! The API behind TLS, and servers that are not to be trusted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::client::{Client, Tokens};
use crate::error::CliError;
use crate::ui::Ui;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("signed");
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).expect("a root");
        Self {
            issuer: Issuer::new(params, key),
            roots,
        }
    }

    fn sign(
        &self,
        name: &str,
        last_year: i32,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (signed.der().clone(), key)
    }
}

/// Answers one call with links without TLS, as a server does that does not know of its proxy; without a certificate it speaks
/// plain HTTP.
fn serve(certificate: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let Some((certificate, key)) = certificate else {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            return;
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a configuration");
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        // A client that does not trust the certificate leaves here.
        let Ok(read) = stream.read(&mut [0; 4096]) else {
            return;
        };
        assert!(read > 0);
        let link = format!(r#"{{"href":"http://localhost:{}/v3"}}"#, address.port());
        let body = format!(r#"{{"links":{{"cloud_controller_v3":{link},"login":{link}}}}}"#);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
        let _ = stream.flush();
    });
    address
}

async fn root_at(address: SocketAddr, roots: &RootCertStore) -> Result<String, CliError> {
    let api = format!("https://localhost:{}", address.port());
    let tokens = Tokens::default();
    let client = Client::trusting(roots.clone(), api.clone(), tokens, Ui::silent());
    let root = crate::context::root(&client).await?;
    let mut config = crate::config::Config {
        api: Some(api),
        ..Default::default()
    };
    crate::context::take_links(&mut config, &root);
    Ok(config.login_url.unwrap_or_default())
}

#[tokio::test]
async fn an_api_with_a_trusted_certificate_is_reached_and_logged_in_to_by_tls() {
    let authority = Authority::new("own");
    let address = serve(Some(authority.sign("localhost", 4096)));
    let login = root_at(address, &authority.roots).await.expect("reached");
    assert_eq!(login, format!("https://localhost:{}/v3", address.port()));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let (authority, other) = (Authority::new("own"), Authority::new("other"));
    for (certificate, words) in [
        (
            Some(other.sign("localhost", 4096)),
            "this machine does not know",
        ),
        (
            Some(authority.sign("api.example.com", 4096)),
            "another host name",
        ),
        (Some(authority.sign("localhost", 2021)), "has expired"),
        (None, "does not speak TLS"),
    ] {
        let address = serve(certificate);
        let refused = root_at(address, &authority.roots).await;
        let error = refused.expect_err("not trusted");
        assert!(error.message.contains(words), "{words}: {error}");
        assert_eq!((error.code.as_str(), error.exit_code()), ("E-TLS", 69));
        assert_eq!(error.hints.len(), 1, "{error}");
    }
}
