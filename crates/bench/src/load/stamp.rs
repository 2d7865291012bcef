//! Bodies that say when they were meant to be sent.

use crate::measure::monotonic_us;

/// Bytes of a body: the size that figures of chat servers are usually given for.
pub(crate) const BODY_BYTES: usize = 100;

const MARK: &str = "t=";

/// A body of [`BODY_BYTES`] that was meant to be sent at this time of the machine's monotonic clock.
pub(crate) fn body(intended_us: u64) -> String {
    let mut body = format!("{MARK}{intended_us:016} ");
    body.extend(std::iter::repeat_n('x', BODY_BYTES.saturating_sub(body.len())));
    body
}

/// How long ago a body was meant to be sent; `None` if it says nothing of it.
pub(crate) fn age_us(body: &str) -> Option<u64> {
    let digits = body.strip_prefix(MARK)?.split_once(' ')?.0;
    Some(monotonic_us().saturating_sub(digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_hundred_bytes_and_knows_its_age() {
        let body = body(monotonic_us() - 5_000_000);
        assert_eq!(body.len(), BODY_BYTES);
        let age_us = age_us(&body).expect("it is stamped");
        assert!((5_000_000..65_000_000).contains(&age_us), "{age_us}");
        assert_eq!(age_us_of("hello"), None);
        assert_eq!(age_us_of("t=x "), None);
    }

    fn age_us_of(body: &str) -> Option<u64> {
        age_us(body)
    }
}
