//! A report's rows, for a person.

use std::fmt;

/// Rows of a name and a value; names are padded to one width.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<(&'static str, String)>);

impl Table {
    pub(crate) fn row(&mut self, name: &'static str, value: impl fmt::Display) -> &mut Table {
        self.0.push((name, value.to_string()));
        self
    }

    pub(crate) fn optional(
        &mut self,
        name: &'static str,
        value: Option<impl fmt::Display>,
    ) -> &mut Table {
        match value {
            Some(value) => self.row(name, value),
            None => self,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name:width$}  {value}"))
    }
}

/// A number with its thousands set apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_line_up_and_thousands_are_set_apart() {
        let mut table = Table::default();
        table.row("rooms", 3).optional("nothing", None::<u8>).row("messages", thousands(22_106));
        assert_eq!(table.to_string(), "rooms     3\nmessages  22,106\n");
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
