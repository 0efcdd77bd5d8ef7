//! Secrets at rest: XChaCha20-Poly1305 under a key that lies beside the database, 0600.
//!
//! A copy of the database alone shows no env, no credentials and no snapshot. The sealed form is the 24-byte nonce and
//! the ciphertext; the column's name is bound in, so that one column's bytes cannot pass for another's.

use std::io::Read;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::disk::write_secret;
use crate::error::{Error, Result};
use crate::rows::corrupt;

const NONCE_BYTES: usize = 24;

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Seal {
    cipher: XChaCha20Poly1305,
    fingerprint_key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let fingerprint_key = Sha256::new_with_prefix(b"slipway fingerprint")
            .chain_update(key)
            .finalize()
            .into();
        Self {
            cipher: XChaCha20Poly1305::new(key.into()),
            fingerprint_key,
        }
    }

    /// Reads the key from `path`, or makes one there, readable by its owner only.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        let io = |what: &str| {
            let tried = format!("{what} {}", path.display());
            move |source| Error::io(tried, source)
        };
        let mut key = [0; 32];
        match std::fs::File::open(path) {
            Ok(mut file) => file.read_exact(&mut key).map_err(io("read the key"))?,
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                fill_random(&mut key)?;
                // Half a key, or one that a power cut takes away again, would lock the data folder for good.
                write_secret(path, &key).map_err(io("write the key"))?;
            }
            Err(other) => return Err(io("open the key")(other)),
        }
        Ok(Self::new(&key))
    }

    pub(crate) fn seal<T: Serialize>(&self, column: &str, value: &T) -> Result<Vec<u8>> {
        let plain = serde_json::to_vec(value).map_err(|_| corrupt(column))?;
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce)?;
        let sealed = self
            .cipher
            .encrypt(
                &XNonce::from(nonce),
                Payload {
                    msg: &plain,
                    aad: column.as_bytes(),
                },
            )
            .map_err(|_| corrupt(column))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open<T: DeserializeOwned>(&self, column: &str, sealed: &[u8]) -> Result<T> {
        let (nonce, cipher_text) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(|| corrupt(column))?;
        let plain = self
            .cipher
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: cipher_text,
                    aad: column.as_bytes(),
                },
            )
            .map_err(|_| corrupt(column))?;
        serde_json::from_slice(&plain).map_err(|_| corrupt(column))
    }

    /// A keyed hash: equal values have equal fingerprints, and the fingerprint tells nothing else.
    #[must_use]
    pub fn fingerprint<T: Serialize>(&self, value: &T) -> String {
        let bytes = serde_json::to_vec(value).expect("records of this crate always serialise");
        let hash = Sha256::new_with_prefix(self.fingerprint_key)
            .chain_update(bytes)
            .finalize();
        hash.iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|source| {
        Error::io(
            "read random bytes".into(),
            std::io::Error::other(source.to_string()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_values_open_only_with_key_and_column() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal("env", &"hunter2").expect("seals");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(
            seal.open::<String>("env", &sealed).expect("opens"),
            "hunter2"
        );
        assert!(seal.open::<String>("credentials", &sealed).is_err());
        assert!(Seal::new(&[8; 32]).open::<String>("env", &sealed).is_err());
        assert!(seal.open::<String>("env", &sealed[..20]).is_err());
    }
}
