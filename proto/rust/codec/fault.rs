//! What is wrong with a request that could be read: which field, and what is allowed there.
//!
//! A fault is made where a field is checked and gets the names around it on the way out, so that checks
//! need not know where they stand, and a request without a fault pays for none of it.

use std::fmt::{self, Display};

use model::{NameError, Refusal, RefusalCode};

/// A field that is not allowed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    code: RefusalCode,
    /// The field's place, such as `publish.post.text`.
    place: String,
    /// The rest of the sentence, such as ` has 20000 bytes; 16384 are allowed`.
    what: String,
}

impl Fault {
    /// The field is not there, and has to be.
    pub(super) fn missing(field: &str) -> Fault {
        Fault::invalid(field, " is missing")
    }

    /// The field is not allowed as it is; `what` continues a sentence that begins with its name.
    pub(super) fn invalid(field: &str, what: impl Into<String>) -> Fault {
        Fault { code: RefusalCode::Invalid, place: field.to_owned(), what: what.into() }
    }

    /// The field is not the name that it should be.
    pub(super) fn name(field: &str, error: &NameError) -> Fault {
        Fault::invalid(field, format!(": {error}"))
    }

    /// The field is larger than its limit.
    pub(super) fn too_large(
        field: &str,
        has: impl Display,
        unit: &str,
        allowed: impl Display,
    ) -> Fault {
        let what = format!(" has {has} {unit}; {allowed} are allowed");
        Fault { code: RefusalCode::TooLarge, place: field.to_owned(), what }
    }

    /// The number is larger than its limit.
    pub(super) fn beyond(field: &str, is: impl Display, allowed: impl Display) -> Fault {
        let what = format!(" is {is}; at most {allowed} is allowed");
        Fault { code: RefusalCode::TooLarge, place: field.to_owned(), what }
    }

    /// The data nests deeper than it may.
    pub(super) fn deep(field: &str, allowed: usize) -> Fault {
        let what = format!(" nests deeper than the {allowed} levels that are allowed");
        Fault { code: RefusalCode::TooLarge, place: field.to_owned(), what }
    }

    /// The same, inside the field `outer`.
    pub(super) fn inside(mut self, outer: &str) -> Fault {
        self.place = match self.place.as_str() {
            "" => outer.to_owned(),
            index if index.starts_with('[') => format!("{outer}{index}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place, self.what)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::because(fault.code, fault.to_string())
    }
}

/// Names the message around a fault.
pub(super) trait Inside {
    /// The same result, its fault inside the field `outer`.
    fn inside(self, outer: &str) -> Self;
}

impl<T> Inside for Result<T, Fault> {
    fn inside(self, outer: &str) -> Self {
        self.map_err(|fault| fault.inside(outer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_whole_path_and_both_numbers() {
        let fault =
            Fault::too_large("text", 20_000, "bytes", 16_384).inside("post").inside("publish");
        let refusal = Refusal::from(fault);
        assert_eq!(refusal.code, RefusalCode::TooLarge);
        assert_eq!(refusal.message, "publish.post.text has 20000 bytes; 16384 are allowed");
        let refusal = Refusal::from(Fault::missing("room").inside("[3]").inside("subscribe"));
        assert_eq!(refusal.message, "subscribe[3].room is missing");
    }
}
