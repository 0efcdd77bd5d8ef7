//! Who asks. One user so far: the admin, who may do everything; roles come with the second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use model::ids::UserId;
use model::secret::Secret;
use store::Store;
use store::disk::write_secret;
use store::records::User;
use tokio::sync::Semaphore;

use crate::settings::Config;
use crate::{Control, Error, Result};

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub user: UserId,
    pub name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The same for an unknown user and for a wrong password.
    #[error("user or password not accepted")]
    Wrong { tries_left: u32 },
    #[error("too many failed attempts; wait {wait_s} s")]
    Locked { wait_s: u64 },
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

/// Counts failed log-ins by user name and address, so that guessing is slow and a stranger elsewhere cannot lock a user out.
#[derive(Debug)]
pub(crate) struct Lockouts {
    failures: Mutex<HashMap<(String, Option<IpAddr>), Failures>>,
    /// Each check of a password takes 19 MiB and a core for a moment: strangers must not get any number of them, nor more
    /// guesses at once than they have in a row.
    checks: Arc<Semaphore>,
}

impl Default for Lockouts {
    fn default() -> Self {
        Self {
            failures: Mutex::default(),
            checks: Arc::new(Semaphore::new(Self::CHECKS)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Lockouts {
    const TRIES: u32 = 5;
    const CHECKS: usize = 2;
    const WAIT: Duration = Duration::from_secs(300);
    const MAX_ENTRIES: usize = 10_000;

    fn wait(&self, key: &(String, Option<IpAddr>)) -> Option<Duration> {
        let entries = self.failures.lock().expect("no panic while held");
        let failures = entries.get(key)?;
        (failures.count >= Self::TRIES).then(|| Self::WAIT.checked_sub(failures.last.elapsed()))?
    }

    fn failed(&self, key: (String, Option<IpAddr>)) -> u32 {
        let mut entries = self.failures.lock().expect("no panic while held");
        entries.retain(|_, failures| failures.last.elapsed() < Self::WAIT);
        if entries.len() >= Self::MAX_ENTRIES {
            entries.clear();
        }
        let failures = entries.entry(key).or_insert(Failures {
            count: 0,
            last: Instant::now(),
        });
        failures.count += 1;
        failures.last = Instant::now();
        Self::TRIES.saturating_sub(failures.count)
    }

    fn succeeded(&self, key: &(String, Option<IpAddr>)) {
        self.failures
            .lock()
            .expect("no panic while held")
            .remove(key);
    }
}

impl Control {
    /// Checks a password. `client` is the address it came from, where known.
    pub async fn authenticate(
        &self,
        username: &str,
        password: &Secret,
        client: Option<IpAddr>,
    ) -> std::result::Result<Actor, LoginError> {
        let key = (username.chars().take(100).collect::<String>(), client);
        let internal = |source: anyhow::Error| LoginError::Internal(source);
        let lockouts = &self.inner.lockouts;
        let permit = Arc::clone(&lockouts.checks)
            .acquire_owned()
            .await
            .map_err(|error| internal(error.into()))?;
        if let Some(wait) = lockouts.wait(&key) {
            return Err(LoginError::Locked {
                wait_s: wait.as_secs() + 1,
            });
        }
        let user = self
            .store()
            .find_user_by_name(username)
            .await
            .map_err(|error| internal(error.into()))?;
        // An unknown user costs the same time as a known one.
        let hash = match &user {
            Some(user) => user.password_hash.clone(),
            None => Secret::new(unknown_user_hash().map_err(internal)?),
        };
        let (password, hash) = (password.clone(), hash);
        // The permit goes along: the work goes on where the client does not wait for it.
        let (matches, _permit) =
            tokio::task::spawn_blocking(move || (is_password(&hash, &password), permit))
                .await
                .map_err(|error| internal(error.into()))?;
        match user {
            Some(user) if matches => {
                self.inner.lockouts.succeeded(&key);
                Ok(Actor {
                    user: user.id,
                    name: user.username,
                })
            }
            _ => Err(LoginError::Wrong {
                tries_left: self.inner.lockouts.failed(key),
            }),
        }
    }

    pub async fn users(&self, _: &Actor) -> Result<Vec<User>> {
        Ok(self.store().list_users().await?)
    }

    /// What a refresh token has to carry: it changes with the user's password, and tells nothing of it.
    pub async fn revocation_mark(&self, user: UserId) -> Result<Option<String>> {
        let found = self.store().find_user(user).await?;
        let seal = self.store().seal();
        Ok(found.map(|user| seal.fingerprint(&("refresh token", user.password_hash.expose()))))
    }

    /// The user that a verified token names, if it still exists.
    pub async fn actor(&self, user: UserId) -> Result<Option<Actor>> {
        let found = self.store().find_user(user).await?;
        Ok(found.map(|user| Actor {
            user: user.id,
            name: user.username,
        }))
    }
}

fn is_password(hash: &Secret, password: &Secret) -> bool {
    PasswordHash::new(hash.expose()).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.expose().as_bytes(), &hash)
            .is_ok()
    })
}

fn unknown_user_hash() -> anyhow::Result<String> {
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(hash) = HASH.get() {
        return Ok(hash.clone());
    }
    let hash = hash_password(&Secret::new("nobody has this password".to_owned()))?;
    Ok(HASH.get_or_init(|| hash.into_exposed()).clone())
}

fn hash_password(password: &Secret) -> anyhow::Result<Secret> {
    let hash = Argon2::default()
        .hash_password(password.expose().as_bytes())
        .map_err(|error| anyhow::anyhow!("hash a password: {error}"))?;
    Ok(Secret::new(hash.to_string()))
}

/// Makes the first user, or gives it the password that the operator set. A password that is made here lies in
/// `admin-password` in the data folder, readable by its owner only.
pub(crate) async fn ensure_admin(store: &Store, config: &Config) -> anyhow::Result<()> {
    let existing = store.find_user_by_name(&config.admin_user).await?;
    let file = config.data.join("admin-password");
    match (existing, &config.admin_password) {
        (Some(_), None) => {}
        (Some(user), Some(password)) if is_password(&user.password_hash, password) => {}
        (Some(user), Some(password)) => {
            store
                .set_password_hash(user.id, &hash_password(password)?)
                .await?;
            write_secret(&file, password.expose().as_bytes())?;
        }
        (None, password) => {
            let password = match password {
                Some(password) => password.clone(),
                None => random_password()?,
            };
            store
                .insert_user(&config.admin_user, &hash_password(&password)?)
                .await?;
            write_secret(&file, password.expose().as_bytes())?;
        }
    }
    Ok(())
}

/// 20 characters out of 32: 100 bits, and none that reads like another.
fn random_password() -> anyhow::Result<Secret> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("read random bytes: {error}"))?;
    Ok(Secret::new(
        bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect::<String>(),
    ))
}

/// Reads the token key, or makes one.
pub(crate) fn token_key(path: &Path) -> anyhow::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(key) => Ok(key),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            let key = new_token_key()?;
            write_secret(path, &key)?;
            Ok(key)
        }
        Err(other) => Err(anyhow::Error::from(other).context(format!("read {}", path.display()))),
    }
}

fn new_token_key() -> anyhow::Result<Vec<u8>> {
    use p256::pkcs8::EncodePrivateKey as _;
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| anyhow::anyhow!("read random bytes: {error}"))?;
        // All but a vanishing share of 32-byte strings are valid scalars.
        if let Ok(key) = p256::SecretKey::from_slice(&bytes) {
            let der = key
                .to_pkcs8_der()
                .map_err(|error| anyhow::anyhow!("encode the token key: {error}"))?;
            return Ok(der.as_bytes().to_vec());
        }
    }
}

impl From<LoginError> for Error {
    fn from(error: LoginError) -> Self {
        Self::internal(error)
    }
}
