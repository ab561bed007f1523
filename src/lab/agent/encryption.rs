//! What an agent needs to agree on a key with its client.

use std::fmt;
use std::sync::Arc;

use ssmfwd_protocol::agent::Encryption;
use ssmfwd_protocol::cipher::PlainKey;
use ssmfwd_protocol::version::Version;

use crate::lab::kms::{Context, Keyring};

/// The agent's access to the key its sessions are encrypted with.
pub(in crate::lab) struct Decrypter {
    pub(in crate::lab) keyring: Arc<Keyring>,
    /// The id, alias or ARN of the key, as the account's preferences have it.
    pub(in crate::lab) key: String,
    pub(in crate::lab) session_id: String,
    pub(in crate::lab) target_id: String,
    /// Whether the target's role may not use the key.
    pub(in crate::lab) is_denied: bool,
}

impl fmt::Debug for Decrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypter")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Decrypter {
    /// What the agent demands of its client in the handshake.
    pub(super) fn encryption(&self, agent_version: Version) -> Encryption {
        let asks = CONTEXT_CHALLENGE_VERSION
            .parse()
            .is_ok_and(|first: Version| agent_version >= first);
        Encryption {
            key_id: self.key.clone(),
            context_challenge: asks.then(random),
            requires_context_challenge: false,
            proof_challenge: random(),
        }
    }

    /// Has the client's data key decrypted, in the context it must have been made for.
    ///
    /// # Errors
    ///
    /// The reason, in the agent's words.
    pub(super) fn decrypt(
        &self,
        ciphertext: &[u8],
        challenge: Option<String>,
    ) -> Result<PlainKey, String> {
        let failed = |reason: String| {
            format!("Unable to retrieve data key, Error when decrypting data key {reason}")
        };
        if self.is_denied {
            return Err(failed(format!(
                "AccessDeniedException: the target's role may not use {}",
                self.key
            )));
        }
        let mut context = Context::from([
            ("aws:ssm:SessionId".to_owned(), self.session_id.clone()),
            ("aws:ssm:TargetId".to_owned(), self.target_id.clone()),
        ]);
        let name = "aws:ssm:RandomChallenge".to_owned();
        context.extend(challenge.map(|challenge| (name, challenge)));
        let region = self.keyring.region_of(&self.key);
        let key = self
            .keyring
            .decrypt(region, Some(&self.key), &context, ciphertext)
            .map_err(|error| failed(error.to_string()))?;
        let plaintext = key.plaintext.as_slice().try_into();
        let plaintext: [u8; 64] =
            plaintext.map_err(|_| failed("it has not 64 bytes".to_owned()))?;
        Ok(PlainKey::from(plaintext))
    }
}

fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    fastrand::fill(&mut bytes);
    bytes
}

/// The first agents that have the data key bound to a challenge of theirs.
const CONTEXT_CHALLENGE_VERSION: &str = "3.3.808.0";
