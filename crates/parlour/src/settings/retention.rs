//! Rules of retention as people write them: `team:* age=30d count=100000 bytes=1GiB`.

use std::fmt;

use super::units::{bytes, duration_ms, number};

/// What is kept of the rooms whose name matches; what goes beyond any bound is trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `*` stands for any run of characters.
    pub rooms: String,
    /// Milliseconds.
    pub age_ms: Option<u64>,
    /// Entries.
    pub count: Option<u64>,
    /// Bytes of payload.
    pub bytes: Option<u64>,
}

impl Retention {
    pub(super) fn parse(text: &str) -> Result<Retention, String> {
        let mut words = text.split_whitespace();
        let rooms = words.next().ok_or("a rule begins with a pattern of room names")?.to_owned();
        let mut rule = Retention { rooms, age_ms: None, count: None, bytes: None };
        for word in words {
            match word.split_once('=') {
                Some(("age", value)) => rule.age_ms = Some(duration_ms(value)?),
                Some(("count", value)) => rule.count = Some(number(value)?),
                Some(("bytes", value)) => rule.bytes = Some(bytes(value)?),
                _ => return Err(format!("{word:?} is none of age=…, count=… and bytes=…")),
            }
        }
        if rule.age_ms.is_none() && rule.count.is_none() && rule.bytes.is_none() {
            return Err(format!(
                "{text:?} names no bound: add age=30d, count=100000 or bytes=1GiB"
            ));
        }
        if rule.count == Some(0) || rule.age_ms == Some(0) || rule.bytes == Some(0) {
            return Err(format!("{text:?} would keep nothing"));
        }
        Ok(rule)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rooms)?;
        if let Some(age) = self.age_ms {
            write!(f, " age={age}ms")?;
        }
        if let Some(count) = self.count {
            write!(f, " count={count}")?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, " bytes={bytes}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_what_is_kept_and_reads_back() {
        let rule = Retention::parse("team:* age=30d bytes=1GiB").expect("a rule");
        assert_eq!(rule.age_ms, Some(2_592_000_000));
        assert_eq!(Retention::parse(&rule.to_string()), Ok(rule));
        assert!(Retention::parse("team:*").is_err());
        assert!(Retention::parse("team:* count=0").is_err());
    }
}
