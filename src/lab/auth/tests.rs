use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::Request;

use super::*;

const BODY: &[u8] = br#"{"Target":"i-0abc"}"#;

/// A signature made by the plugin's signer, that of AWS SDK for Go v1.
#[test]
fn the_official_signers_upgrade_is_accepted() {
    let verifier = Verifier {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "SECRETEXAMPLE",
        region: "us-east-1",
    };
    let signature = "82cdf542e81b5d566dbeccac7d9099b1ae33db46c7d08093016263925a222dab";
    let request = |query: &str| {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/ssmmessages/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={signature}"
        );
        Request::get(format!(
            "/v1/data-channel/user@example.com-0abc?role=publish_subscribe&cell-number={query}"
        ))
        .header("host", "ssmmessages.us-east-1.amazonaws.com")
        .header("x-amz-date", "20260102T030405Z")
        .header("x-amz-security-token", "TOKENEXAMPLE")
        .header("authorization", authorization)
        .body(())
        .unwrap()
        .into_parts()
        .0
    };
    let verify = |query| {
        let now = clock::parse_amz_date("20260102T030805Z").unwrap();
        verifier.verify(Service::SsmMessages, &request(query), b"", now)
    };
    assert_eq!(verify("AA+b/c=="), Ok(()));
    assert_eq!(verify("AA%2Bb/c=="), Err(AuthError::WrongSignature));
}

fn signed_parts(access_key_id: &str, secret: &str, at: SystemTime) -> Parts {
    let url = "http://127.0.0.1:4566/";
    let headers = [
        ("host", "127.0.0.1:4566"),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "AmazonSSM.StartSession"),
    ];
    let credentials = Credentials::new(access_key_id, secret, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&credentials)
        .region(REGION)
        .name("ssm")
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let signable =
        SignableRequest::new("POST", url, headers.into_iter(), SignableBody::Bytes(BODY)).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut request = Request::post("/").body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    instructions.apply_to_request_http1x(&mut request);
    request.into_parts().0
}

fn verify(parts: &Parts, body: &[u8], now: SystemTime) -> Result<(), AuthError> {
    Verifier::default().verify(Service::Ssm, parts, body, now)
}

#[test]
fn an_sdk_request_is_accepted_for_its_body_service_and_time_only() {
    let now = SystemTime::now();
    let parts = signed_parts(ACCESS_KEY_ID, SECRET_ACCESS_KEY, now);
    assert_eq!(verify(&parts, BODY, now), Ok(()));
    assert_eq!(verify(&parts, b"{}", now), Err(AuthError::WrongSignature));
    let as_upgrade = Verifier::default().verify(Service::SsmMessages, &parts, BODY, now);
    assert_eq!(as_upgrade, Err(AuthError::WrongScope));
    for skew in [4, -4, 6, -6_i64] {
        let shift = Duration::from_secs(skew.unsigned_abs() * 60);
        let then = if skew < 0 { now - shift } else { now + shift };
        let expected = match skew.abs() {
            4 => Ok(()),
            _ => Err(AuthError::Expired),
        };
        assert_eq!(verify(&parts, BODY, then), expected, "{skew}");
    }
}

#[test]
fn a_signed_header_cannot_be_changed() {
    let now = SystemTime::now();
    let mut parts = signed_parts(ACCESS_KEY_ID, SECRET_ACCESS_KEY, now);
    let other = "AmazonSSM.TerminateSession".parse().unwrap();
    parts.headers.insert("x-amz-target", other);
    assert_eq!(verify(&parts, BODY, now), Err(AuthError::WrongSignature));
    parts.headers.remove("x-amz-target");
    assert_eq!(verify(&parts, BODY, now), Err(AuthError::Incomplete));
}

#[test]
fn the_key_id_and_the_secret_both_count() {
    let now = SystemTime::now();
    let parts = signed_parts("AKIASOMEONEELSE00000", SECRET_ACCESS_KEY, now);
    assert_eq!(verify(&parts, BODY, now), Err(AuthError::UnknownKey));
    let parts = signed_parts(ACCESS_KEY_ID, "another secret", now);
    assert_eq!(verify(&parts, BODY, now), Err(AuthError::WrongSignature));
}

#[test]
fn headers_that_are_missing_or_malformed_are_told_apart() {
    let now = SystemTime::now();
    let with = |authorization: Option<&[u8]>| {
        let mut parts = signed_parts(ACCESS_KEY_ID, SECRET_ACCESS_KEY, now);
        parts.headers.remove("authorization");
        if let Some(value) = authorization {
            let value = http::HeaderValue::from_bytes(value).unwrap();
            parts.headers.insert("authorization", value);
        }
        verify(&parts, BODY, now)
    };
    assert_eq!(with(None), Err(AuthError::Missing));
    for malformed in [
        &b""[..],
        b"Bearer x",
        b"AWS4-HMAC-SHA256 ",
        b"AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;x-amz-date, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=0",
        b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=zz",
        b"\xff\xfe",
    ] {
        assert_eq!(with(Some(malformed)), Err(AuthError::Incomplete));
    }
}
