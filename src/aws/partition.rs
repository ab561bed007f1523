//! The partitions of AWS: which names hosts of a region have.

/// Returns the DNS suffixes of a region's partition, as the AWS endpoint rules list them: the
/// usual one and that of dual-stack endpoints.
pub(crate) fn dns_suffixes(region: &str) -> &'static [&'static str] {
    let partitions: [(&str, &[&str]); 6] = [
        ("cn-", &["amazonaws.com.cn", "api.amazonwebservices.com.cn"]),
        ("us-iso-", &["c2s.ic.gov", "api.aws.ic.gov"]),
        ("us-isob-", &["sc2s.sgov.gov", "api.aws.scloud"]),
        ("us-isof-", &["csp.hci.ic.gov", "api.aws.hci.ic.gov"]),
        ("eu-isoe-", &["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"]),
        ("eusc-", &["amazonaws.eu", "api.amazonwebservices.eu"]),
    ];
    partitions
        .into_iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or(&["amazonaws.com", "api.aws"], |(_, suffixes)| suffixes)
}
