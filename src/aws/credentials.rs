//! Credentials, resolved when they are used and shared between API calls and upgrades.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Aws, error};
use crate::failure::Failure;

impl Aws {
    /// Returns credentials that are valid now.
    ///
    /// # Errors
    ///
    /// [`Exit::Credentials`](crate::failure::Exit::Credentials) with the command to run if there
    /// are none, or if they do not arrive in time.
    pub(crate) async fn credentials(&self) -> Result<Credentials, Failure> {
        self.credentials
            .provide_credentials()
            .await
            .map_err(|error| error::credentials_failure(&error, &self.identity))
    }

    /// Does without credentials from here on: nothing is signed, and no API can be called.
    pub(crate) fn without_credentials(self) -> Self {
        Self {
            credentials: CachedProvider::new(None),
            is_signing: false,
            ..self
        }
    }
}

/// Remembers what the chain found, so that the several sessions of one process, and the API call
/// and the upgrade of each, assume a role or run a credential process once.
#[derive(Clone)]
pub(super) struct CachedProvider {
    /// Held while credentials are looked up: whoever comes second waits for the first result.
    state: Arc<Mutex<State>>,
}

struct State {
    inner: Option<SharedCredentialsProvider>,
    cached: Option<Cached>,
}

struct Cached {
    credentials: Credentials,
    since: Instant,
}

impl CachedProvider {
    pub(super) fn new(inner: Option<SharedCredentialsProvider>) -> Self {
        let state = State {
            inner,
            cached: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Takes another provider, and forgets what the last one has found.
    pub(super) async fn replace(&self, inner: Option<SharedCredentialsProvider>) {
        *self.state.lock().await = State {
            inner,
            cached: None,
        };
    }

    async fn resolve(&self) -> provider::Result {
        let mut state = self.state.lock().await;
        if let Some(cached) = &state.cached
            && cached.is_fresh(SystemTime::now())
        {
            return Ok(cached.credentials.clone());
        }
        let Some(inner) = &state.inner else {
            return Err(CredentialsError::not_loaded_no_source());
        };
        let found = tokio::time::timeout(LOOKUP_DEADLINE, inner.provide_credentials()).await;
        let credentials =
            found.map_err(|_| CredentialsError::provider_timed_out(LOOKUP_DEADLINE))??;
        state.cached = Some(Cached {
            credentials: credentials.clone(),
            since: Instant::now(),
        });
        Ok(credentials)
    }
}

impl Cached {
    fn is_fresh(&self, now: SystemTime) -> bool {
        match self.credentials.expiry() {
            Some(expiry) => now + EXPIRY_MARGIN < expiry,
            None => self.since.elapsed() < UNDATED_LIFETIME,
        }
    }
}

impl ProvideCredentials for CachedProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.resolve())
    }
}

impl fmt::Debug for CachedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedProvider").finish_non_exhaustive()
    }
}

/// Longest wait for credentials. Generous, because a credential process may be asking a person
/// for a code.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(60);

/// Credentials that expire sooner than this are looked up again: a signature must still be valid
/// when it arrives.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// How long credentials without an expiry are reused: long enough for StartSession and the
/// upgrade that follows it, short enough to notice that the user replaced them.
const UNDATED_LIFETIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Counting {
        calls: Arc<AtomicUsize>,
        lifetime: Option<Duration>,
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                let call = self.calls.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                let expiry = self.lifetime.map(|lifetime| SystemTime::now() + lifetime);
                Ok(Credentials::new(
                    format!("AKID{call}"),
                    "secret",
                    None,
                    expiry,
                    "test",
                ))
            })
        }
    }

    fn counting(lifetime: Option<Duration>) -> (CachedProvider, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let inner = SharedCredentialsProvider::new(Counting {
            calls: calls.clone(),
            lifetime,
        });
        (CachedProvider::new(Some(inner)), calls)
    }

    #[tokio::test]
    async fn concurrent_users_share_one_lookup() {
        let (provider, calls) = counting(Some(Duration::from_secs(3600)));
        let (first, second) = tokio::join!(provider.resolve(), provider.resolve());
        assert_eq!(first.unwrap().access_key_id(), "AKID0");
        assert_eq!(second.unwrap().access_key_id(), "AKID0");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn credentials_about_to_expire_are_not_reused() {
        let (provider, calls) = counting(Some(EXPIRY_MARGIN / 2));
        provider.resolve().await.unwrap();
        provider.resolve().await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn undated_credentials_are_looked_up_again_after_a_while() {
        let (provider, calls) = counting(None);
        provider.resolve().await.unwrap();
        provider.resolve().await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        tokio::time::advance(UNDATED_LIFETIME).await;
        provider.resolve().await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_never_ends_fails() {
        #[derive(Debug)]
        struct Never;
        impl ProvideCredentials for Never {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                future::ProvideCredentials::new(std::future::pending())
            }
        }
        let provider = CachedProvider::new(Some(SharedCredentialsProvider::new(Never)));
        let error = provider.resolve().await.unwrap_err();
        assert!(
            matches!(error, CredentialsError::ProviderTimedOut(_)),
            "{error:?}"
        );
    }
}
