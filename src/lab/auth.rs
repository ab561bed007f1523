//! Verifies that requests are signed with Signature Version 4 and the lab's credentials.
//!
//! Written from the rules alone and without the signer the client uses, so that a mistake of the
//! client's cannot cancel itself out.

mod canonical;

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

use self::canonical::Canonical;
use super::chaos::Condition;
use super::clock;
use super::conditions::Conditions;

/// The lab's only access key id; the form is AWS's, the account is nobody's.
pub(super) const ACCESS_KEY_ID: &str = "AKIALAB0000000000000";

/// The key that goes with [`ACCESS_KEY_ID`]. Public on purpose: it opens nothing but a lab.
pub(super) const SECRET_ACCESS_KEY: &str = "lab-secret-access-key-not-for-aws-000000";

/// The lab's region.
pub(super) const REGION: &str = "us-east-1";

/// The AWS service a request is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Systems Manager.
    Ssm,
    /// The data channel's upgrade.
    SsmMessages,
    /// The Key Management Service.
    Kms,
    /// The Elastic Container Service.
    Ecs,
    /// EC2 Instance Connect.
    InstanceConnect,
    /// The Security Token Service.
    Sts,
}

impl Service {
    /// The name in a signature's scope, and in the policies' actions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::SsmMessages => "ssmmessages",
            Self::Kms => "kms",
            Self::Ecs => "ecs",
            Self::InstanceConnect => "ec2-instance-connect",
            Self::Sts => "sts",
        }
    }
}

/// Why a request is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    #[error("Request is missing Authentication Token")]
    Missing,
    #[error("Authorization header or X-Amz-Date header is incomplete or malformed.")]
    Incomplete,
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("Credential should be scoped to region 'us-east-1' and the service called.")]
    WrongScope,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    WrongSignature,
    #[error("Signature expired: it is not of the last 5 min.")]
    Expired,
    #[error("The security token included in the request is expired")]
    ExpiredToken,
}

impl AuthError {
    /// The error's code in an API answer.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::Incomplete => "IncompleteSignature",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::WrongScope | Self::WrongSignature | Self::Expired => "InvalidSignatureException",
            Self::ExpiredToken => "ExpiredTokenException",
        }
    }
}

/// Verifies that the credentials of a request are not expired: they are of the latest renewal, and no
/// fault has them expire.
///
/// # Errors
///
/// [`AuthError::ExpiredToken`] if they are.
pub(super) fn check_expiry(request: &Parts, conditions: &Conditions) -> Result<(), AuthError> {
    let token = single_header(&request.headers, "x-amz-security-token");
    let is_latest = match conditions.session_token() {
        Some(latest) => token == Some(&latest),
        None => true,
    };
    match is_latest && !conditions.holds(Condition::ExpireCredentials) {
        true => Ok(()),
        false => Err(AuthError::ExpiredToken),
    }
}

/// The one pair of keys that signs requests, and the region they are signed for.
#[derive(Clone, Copy)]
pub(super) struct Verifier<'a> {
    access_key_id: &'static str,
    secret_access_key: &'static str,
    region: &'a str,
}

impl Default for Verifier<'_> {
    fn default() -> Self {
        Self {
            access_key_id: ACCESS_KEY_ID,
            secret_access_key: SECRET_ACCESS_KEY,
            region: REGION,
        }
    }
}

impl<'a> Verifier<'a> {
    /// Verifies for another region than the lab's.
    pub(super) fn in_region(self, region: &'a str) -> Self {
        Self { region, ..self }
    }

    /// Verifies the signature of a request with this body.
    ///
    /// # Errors
    ///
    /// The first rule the request breaks, in the order of [`AuthError`].
    pub(super) fn verify(
        &self,
        service: Service,
        request: &Parts,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), AuthError> {
        let authorization = request.headers.get(http::header::AUTHORIZATION);
        let authorization = authorization.ok_or(AuthError::Missing)?;
        let text = authorization.to_str().map_err(|_| AuthError::Incomplete)?;
        let authorization = Authorization::parse(text).ok_or(AuthError::Incomplete)?;
        let date = single_header(&request.headers, "x-amz-date").ok_or(AuthError::Incomplete)?;
        let time = clock::parse_amz_date(date).ok_or(AuthError::Incomplete)?;

        if authorization.access_key_id != self.access_key_id {
            return Err(AuthError::UnknownKey);
        }
        let day = date.get(..8).ok_or(AuthError::Incomplete)?;
        let scope = format!("{day}/{}/{}/aws4_request", self.region, service.name());
        if authorization.scope != scope {
            return Err(AuthError::WrongScope);
        }
        let canonical = Canonical::new(request, &authorization.signed_headers, body)
            .ok_or(AuthError::Incomplete)?;
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.to_string()))
        );
        self.mac(day, service, &to_sign)
            .is_some_and(|mac| mac.verify_slice(&authorization.signature).is_ok())
            .then_some(())
            .ok_or(AuthError::WrongSignature)?;

        let age = now
            .duration_since(time)
            .or_else(|_| time.duration_since(now));
        match age {
            Ok(age) if age <= MAX_CLOCK_SKEW => Ok(()),
            _ => Err(AuthError::Expired),
        }
    }

    fn mac(&self, day: &str, service: Service, to_sign: &str) -> Option<Hmac<Sha256>> {
        let secret = format!("AWS4{}", self.secret_access_key);
        let mut key = keyed(secret.as_bytes(), day)?.finalize().into_bytes();
        for part in [self.region, service.name(), "aws4_request"] {
            key = keyed(&key, part)?.finalize().into_bytes();
        }
        keyed(&key, to_sign)
    }
}

/// An `Authorization` header, taken apart.
struct Authorization<'a> {
    access_key_id: &'a str,
    /// `day/region/service/aws4_request`
    scope: &'a str,
    /// Lower-case header names, in the order of the header.
    signed_headers: Vec<&'a str>,
    signature: Vec<u8>,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parameters = text.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            match parameter.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => return None,
            }
        }
        let (access_key_id, scope) = credential?.split_once('/')?;
        let signed_headers: Vec<_> = signed_headers?.split(';').collect();
        // Without these two a signature could be moved to another endpoint or time.
        if !signed_headers.contains(&"host") || !signed_headers.contains(&"x-amz-date") {
            return None;
        }
        Some(Self {
            access_key_id,
            scope,
            signed_headers,
            signature: unhex(signature?)?,
        })
    }
}

/// An HMAC over `message`; HMAC takes keys of any length, so there always is one.
fn keyed(key: &[u8], message: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(message.as_bytes());
    Some(mac)
}

fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

/// How far a request's time may be from the lab's, as at AWS (IAM User Guide, "Create a signed AWS API request").
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests;
