//! Values as people write them.

use std::str::FromStr;

/// A whole number; `_` may part its digits.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a whole number in range"))
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// `30d`, `12h`, `90m`, `45s` as milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    with_unit(text, &units).ok_or_else(|| format!("{text:?} is not a time such as 30d, 12h or 90s"))
}

/// `1GiB`, `500MiB`, `64KiB`, `1000` as bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("", 1)];
    with_unit(text, &units).ok_or_else(|| format!("{text:?} is not a size such as 500MiB or 1GiB"))
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
    let (count, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number::<u64>(count).ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration_ms("30d"), Ok(30 * 86_400_000));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("77"), Ok(77));
        assert!(duration_ms("30").is_err());
        assert!(bytes("99999999TiB").is_err());
    }
}
