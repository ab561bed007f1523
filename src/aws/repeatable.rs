//! Which calls may be made twice.

use aws_sdk_ssm::config::interceptors::InterceptorContext;
use aws_sdk_ssm::config::retry::{ClassifyRetry, RetryAction};

/// Repeats only what the service has answered, such as a throttled call.
///
/// For StartSession, which has no idempotency token: a call whose answer is lost may have begun a session, and
/// nobody would know the id of it once the next one succeeds.
#[derive(Debug)]
pub(super) struct OnlyIfAnswered;

impl ClassifyRetry for OnlyIfAnswered {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.output_or_error() {
            Some(Err(error)) if !error.is_operation_error() => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "only if answered"
    }
}
