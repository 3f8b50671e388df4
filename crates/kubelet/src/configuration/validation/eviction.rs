//! Below which amounts pods are evicted.

use super::expect;
use crate::configuration::document::KubeletConfiguration;
use crate::configuration::duration::GoDuration;
use crate::configuration::mapping;

pub(super) fn check(configuration: &KubeletConfiguration, wrong: &mut Vec<String>) {
    for (signal, text) in &configuration.eviction_soft_grace_period {
        let is_right = text.parse::<GoDuration>().is_ok_and(|grace| grace > GoDuration::ZERO);
        expect(wrong, is_right, || format!("evictionSoftGracePeriod.{signal} {text:?} must be a positive duration"));
    }
    if let Err(err) = mapping::statements(configuration).thresholds() {
        wrong.push(format!("evictionHard, evictionSoft or evictionMinimumReclaim: {err}"));
    }
}
