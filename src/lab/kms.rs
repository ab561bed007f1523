//! The lab's keys: makes data keys and opens them again, bound to their encryption context.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::auth;

/// A key of the lab's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsKey {
    /// The key's id, as `1234abcd-12ab-34cd-56ef-1234567890ab`.
    pub id: String,
    /// The region it is in.
    pub region: String,
    /// Its aliases, as `alias/sessions`.
    pub aliases: Vec<String>,
    pub state: KeyState,
}

/// What comes of using a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Data keys.
    Enabled,
    /// `DisabledException`.
    Disabled,
    /// `AccessDeniedException`: no policy lets the caller use it.
    Denied,
    /// `ExpiredTokenException`: the caller's credentials are no longer good, for this service at least.
    CredentialsExpired,
}

impl KmsKey {
    /// Creates a key from what may stand for one in a document: an id, an alias or the ARN of
    /// either. Its region is the lab's unless the ARN names another.
    pub fn new(name: &str) -> Self {
        let mut key = Self {
            id: DEFAULT_KEY_ID.to_owned(),
            region: auth::REGION.to_owned(),
            aliases: Vec::new(),
            state: KeyState::Enabled,
        };
        let parts: Vec<_> = name.splitn(6, ':').collect();
        let resource = match parts.as_slice() {
            ["arn", _, "kms", region, _, resource] => {
                key.region = (*region).to_owned();
                resource
            }
            _ => name,
        };
        match resource.strip_prefix("key/") {
            Some(id) => key.id = id.to_owned(),
            None if resource.starts_with("alias/") => key.aliases.push(resource.to_owned()),
            None => key.id = resource.to_owned(),
        }
        key
    }

    /// The key's ARN.
    pub fn arn(&self) -> String {
        self.arn_of(&format!("key/{}", self.id))
    }

    fn arn_of(&self, resource: &str) -> String {
        format!("arn:aws:kms:{}:{ACCOUNT}:{resource}", self.region)
    }

    /// Whether a request that names `name` means this key.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let is_alias = |alias: &String| *alias == name || self.arn_of(alias) == name;
        self.id == name || self.arn() == name || self.aliases.iter().any(is_alias)
    }
}

/// A data key, plain and sealed.
pub(super) struct DataKey {
    pub(super) key_arn: String,
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    pub(super) ciphertext: Vec<u8>,
}

/// The names and values a data key is bound to.
pub(super) type Context = BTreeMap<String, String>;

/// Why there is no data key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KmsError {
    #[error("Key '{0}' does not exist")]
    UnknownKey(String),
    #[error("{0} is disabled.")]
    Disabled(String),
    #[error("not authorized to use {0}")]
    Denied(String),
    #[error("The security token included in the request is expired")]
    CredentialsExpired,
    #[error("The ciphertext was not made by the lab, or not for this encryption context.")]
    InvalidCiphertext,
    #[error("The key ID in the request does not identify a CMK that can perform this operation.")]
    IncorrectKey,
}

/// All keys, and the secret their data keys are sealed with.
pub(super) struct Keyring {
    keys: Vec<KmsKey>,
    sealing_key: RandomizedNonceKey,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Takes over the keys; what they seal can be opened by this ring only.
    pub(super) fn new(keys: Vec<KmsKey>) -> Result<Self, Unspecified> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(secret.as_mut_slice())?;
        Ok(Self {
            keys,
            sealing_key: RandomizedNonceKey::new(&AES_256_GCM, secret.as_slice())?,
        })
    }

    /// The regions that have keys.
    pub(super) fn regions(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.region.as_str())
    }

    /// The region of the key that `name` stands for: of an alias or id, any that has it.
    pub(super) fn region_of(&self, name: &str) -> &str {
        let key = self.keys.iter().find(|key| key.is_called(name));
        key.map_or(auth::REGION, |key| key.region.as_str())
    }

    /// Makes a random data key of `len` bytes under the key that `name` stands for in `region`.
    pub(super) fn generate_data_key(
        &self,
        region: &str,
        name: &str,
        context: &Context,
        len: usize,
    ) -> Result<DataKey, KmsError> {
        let key = self.usable(region, name)?;
        let mut plaintext = Zeroizing::new(vec![0; len]);
        rand::fill(&mut plaintext).map_err(|_| KmsError::InvalidCiphertext)?;
        let sealed = self.seal(key, context, &plaintext);
        Ok(DataKey {
            key_arn: key.arn(),
            ciphertext: sealed.map_err(|_| KmsError::InvalidCiphertext)?,
            plaintext,
        })
    }

    /// Opens a sealed data key. `name` is the key the caller expects, if it says.
    pub(super) fn decrypt(
        &self,
        region: &str,
        name: Option<&str>,
        context: &Context,
        ciphertext: &[u8],
    ) -> Result<DataKey, KmsError> {
        let key = self
            .keys
            .iter()
            .find(|key| key.region == region && ciphertext.starts_with(&header(key)))
            .ok_or(KmsError::InvalidCiphertext)?;
        if let Some(name) = name
            && !self.usable(region, name)?.is_called(&key.arn())
        {
            return Err(KmsError::IncorrectKey);
        }
        self.usable(region, &key.arn())?;
        let opened = self.open(key, context, ciphertext);
        Ok(DataKey {
            key_arn: key.arn(),
            plaintext: opened.map_err(|_| KmsError::InvalidCiphertext)?,
            ciphertext: ciphertext.to_vec(),
        })
    }

    fn usable(&self, region: &str, name: &str) -> Result<&KmsKey, KmsError> {
        let key = self
            .keys
            .iter()
            .find(|key| key.region == region && key.is_called(name))
            .ok_or_else(|| KmsError::UnknownKey(name.to_owned()))?;
        match key.state {
            KeyState::Enabled => Ok(key),
            KeyState::Disabled => Err(KmsError::Disabled(key.arn())),
            KeyState::Denied => Err(KmsError::Denied(key.arn())),
            KeyState::CredentialsExpired => Err(KmsError::CredentialsExpired),
        }
    }

    /// Header, nonce, ciphertext and tag in one.
    fn seal(
        &self,
        key: &KmsKey,
        context: &Context,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = Zeroizing::new(plaintext.to_vec());
        let aad = Aad::from(bound_to(key, context));
        let nonce = self
            .sealing_key
            .seal_in_place_append_tag(aad, &mut *sealed)?;
        Ok([header(key).as_slice(), nonce.as_ref(), sealed.as_slice()].concat())
    }

    fn open(
        &self,
        key: &KmsKey,
        context: &Context,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let body = ciphertext.get(HEADER_LEN..).ok_or(Unspecified)?;
        let (nonce, sealed) = body.split_first_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(bound_to(key, context));
        let len = self
            .sealing_key
            .open_in_place(nonce.into(), aad, &mut opened)?
            .len();
        opened.truncate(len);
        Ok(opened)
    }
}

/// What a ciphertext begins with, so that it tells its key without being asked.
fn header(key: &KmsKey) -> [u8; HEADER_LEN] {
    use sha2::Digest;
    sha2::Sha256::digest(key.arn()).into()
}

/// A text that is the same for the same key and context, and for no other.
fn bound_to(key: &KmsKey, context: &Context) -> Vec<u8> {
    serde_json::json!([key.arn(), context])
        .to_string()
        .into_bytes()
}

/// Bytes of [`header`].
const HEADER_LEN: usize = 32;

/// The lab's account.
const ACCOUNT: &str = "000000000000";

/// The id of a key of which only an alias is known.
const DEFAULT_KEY_ID: &str = "1ab00000-0000-4000-8000-000000000000";

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str = auth::REGION;

    fn keyring(state: KeyState) -> Keyring {
        let mut key = KmsKey::new("alias/sessions");
        key.state = state;
        Keyring::new(vec![key, KmsKey::new("other")]).unwrap()
    }

    fn context(session: &str) -> Context {
        Context::from([("aws:ssm:SessionId".to_owned(), session.to_owned())])
    }

    #[test]
    fn a_data_key_opens_in_its_own_context_only() {
        let keyring = keyring(KeyState::Enabled);
        let made = keyring
            .generate_data_key(REGION, "alias/sessions", &context("s-1"), 64)
            .unwrap();
        assert_eq!(made.plaintext.len(), 64);
        let decrypt = |context: &Context, ciphertext: &[u8]| {
            let opened = keyring.decrypt(REGION, None, context, ciphertext);
            opened.map(|key| key.plaintext)
        };
        let opened = decrypt(&context("s-1"), &made.ciphertext).unwrap();
        assert_eq!(opened, made.plaintext);
        for wrong in [context("s-2"), Context::new()] {
            let error = decrypt(&wrong, &made.ciphertext).unwrap_err();
            assert_eq!(error, KmsError::InvalidCiphertext);
        }
        for place in [0, HEADER_LEN, HEADER_LEN + 12, made.ciphertext.len() - 1] {
            let mut damaged = made.ciphertext.clone();
            damaged[place] ^= 1;
            let error = decrypt(&context("s-1"), &damaged).unwrap_err();
            assert_eq!(error, KmsError::InvalidCiphertext, "byte {place}");
        }
        for len in 0..made.ciphertext.len() {
            assert!(decrypt(&context("s-1"), &made.ciphertext[..len]).is_err());
        }
    }

    #[test]
    fn a_key_goes_by_its_id_alias_and_arn_in_its_region() {
        let key = KmsKey::new("arn:aws:kms:eu-west-1:000000000000:key/mrk-1");
        assert_eq!(
            (key.id.as_str(), key.region.as_str()),
            ("mrk-1", "eu-west-1")
        );
        assert_eq!(KmsKey::new(&key.arn()), key);
        let mut key = key;
        key.aliases.push("alias/a".to_owned());
        let keyring = Keyring::new(vec![key]).unwrap();
        let found = |region: &str, name: &str| {
            let made = keyring.generate_data_key(region, name, &Context::new(), 32);
            made.map(|made| made.key_arn)
        };
        let arn = "arn:aws:kms:eu-west-1:000000000000:key/mrk-1".to_owned();
        let alias_arn = "arn:aws:kms:eu-west-1:000000000000:alias/a";
        for name in ["mrk-1", "alias/a", alias_arn, &arn] {
            assert_eq!(found("eu-west-1", name), Ok(arn.clone()), "{name}");
            assert!(found("us-east-1", name).is_err(), "{name}");
        }
        let unknown = KmsError::UnknownKey("alias/b".to_owned());
        assert_eq!(found("eu-west-1", "alias/b"), Err(unknown));
    }

    #[test]
    fn a_ciphertext_has_one_key() {
        let keyring = keyring(KeyState::Enabled);
        let made = keyring.generate_data_key(REGION, "other", &Context::new(), 16);
        let ciphertext = made.unwrap().ciphertext;
        let with = |name| keyring.decrypt(REGION, Some(name), &Context::new(), &ciphertext);
        assert!(with("other").is_ok());
        let error = with("alias/sessions").err();
        assert_eq!(error, Some(KmsError::IncorrectKey));
    }

    #[test]
    fn keys_may_be_of_no_use() {
        let error = |state| {
            let keyring = keyring(state);
            let made = keyring.generate_data_key(REGION, "alias/sessions", &Context::new(), 64);
            made.err().unwrap()
        };
        assert!(matches!(error(KeyState::Disabled), KmsError::Disabled(_)));
        assert!(matches!(error(KeyState::Denied), KmsError::Denied(_)));
        let expired = error(KeyState::CredentialsExpired);
        assert_eq!(expired, KmsError::CredentialsExpired);
    }
}
