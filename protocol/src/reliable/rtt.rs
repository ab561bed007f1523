//! Round-trip estimation and the retransmission timeout of RFC 6298.

use std::time::Duration;

use crate::config::Retransmission;

/// Clock granularity `G` of RFC 6298 section 2, as the official ends have it.
const GRANULARITY: Duration = Duration::from_millis(10);

/// Smoothed round-trip time, its variation, and the timeout that follows from them.
#[derive(Debug)]
pub(crate) struct RttEstimator {
    config: Retransmission,
    srtt: Option<Duration>,
    rttvar: Duration,
    /// Shortest sample; zero before the first.
    min_rtt: Duration,
    rto: Duration,
}

impl RttEstimator {
    pub(crate) fn new(config: Retransmission) -> Self {
        Self {
            config,
            srtt: None,
            rttvar: Duration::ZERO,
            min_rtt: Duration::ZERO,
            rto: config.initial_rto,
        }
    }

    /// Takes the round trip of a message that was sent once (Karn's rule is the caller's).
    ///
    /// Ends any back-off: the timeout is computed anew (RFC 6298 section 5.7).
    pub(crate) fn sample(&mut self, rtt: Duration) {
        let srtt = match self.srtt {
            None => {
                self.min_rtt = rtt;
                self.rttvar = rtt / 2;
                rtt
            }
            Some(srtt) => {
                self.min_rtt = self.min_rtt.min(rtt);
                self.rttvar = self.rttvar * 3 / 4 + srtt.abs_diff(rtt) / 4;
                srtt * 7 / 8 + rtt / 8
            }
        };
        self.srtt = Some(srtt);
        self.end_back_off();
    }

    /// Computes the timeout from the samples alone: the path that was silent is not used any more.
    pub(crate) fn end_back_off(&mut self) {
        self.rto = self.srtt.map_or(self.config.initial_rto, |srtt| {
            let rto = srtt + GRANULARITY.max(self.rttvar * 4);
            rto.clamp(self.config.min_rto, self.config.max_rto)
        });
    }

    /// Doubles the timeout after it expired (RFC 6298 section 5.5).
    pub(crate) fn back_off(&mut self) {
        self.rto = (self.rto * 2).min(self.config.max_rto);
    }

    /// Time after which an unacknowledged message is sent again.
    pub(crate) fn rto(&self) -> Duration {
        self.rto
    }

    /// Smoothed round-trip time, once there was a sample.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// Returns whether an acknowledgement after `elapsed` can answer that transmission, rather
    /// than an earlier one of the same message.
    pub(crate) fn is_plausible(&self, elapsed: Duration) -> bool {
        elapsed >= self.min_rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn estimator() -> RttEstimator {
        RttEstimator::new(Retransmission {
            min_rto: MS,
            ..Retransmission::default()
        })
    }

    #[test]
    fn first_sample_sets_the_timeout_to_three_round_trips() {
        let mut rtt = estimator();
        rtt.sample(100 * MS);
        assert_eq!(rtt.srtt(), Some(100 * MS));
        assert_eq!(rtt.rto(), 300 * MS);
    }

    #[test]
    fn steady_samples_shrink_the_variation_to_the_granularity() {
        let mut rtt = estimator();
        for _ in 0..100 {
            rtt.sample(100 * MS);
        }
        assert_eq!(rtt.rto(), 110 * MS);
    }

    #[test]
    fn back_off_doubles_up_to_the_maximum_and_a_sample_ends_it() {
        let mut rtt = estimator();
        rtt.sample(100 * MS);
        rtt.back_off();
        assert_eq!(rtt.rto(), 600 * MS);
        for _ in 0..20 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(), Retransmission::default().max_rto);
        rtt.sample(100 * MS);
        assert!(rtt.rto() < 300 * MS);
    }

    #[test]
    fn the_floor_holds() {
        let mut rtt = RttEstimator::new(Retransmission::default());
        rtt.sample(MS);
        assert_eq!(rtt.rto(), Retransmission::default().min_rto);
    }
}
