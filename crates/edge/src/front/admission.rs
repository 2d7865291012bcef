//! How many sessions there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use model::{End, EndCode};

/// When somebody who found the edge full may come back.
const COME_BACK_MS: u64 = 2_000;

/// Whose the address is for what is counted: whoever has one IPv6 address has a network of them.
pub(super) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// Counts sessions and refuses those beyond the limits.
#[derive(Debug)]
pub(crate) struct Admission {
    sessions_max: usize,
    per_address_max: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sessions: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One session's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(sessions_max: usize, per_address_max: usize) -> Arc<Admission> {
        Arc::new(Admission { sessions_max, per_address_max, counts: Mutex::default() })
    }

    /// A place for a session from `address`, or how it is told to come back later.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, End> {
        let address = counted_as(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.sessions >= self.sessions_max {
            return Err(End::new(EndCode::Overloaded).retry_after(COME_BACK_MS));
        }
        let here = counts.by_address.entry(address).or_default();
        if *here >= self.per_address_max {
            return Err(End::because(
                EndCode::TooManySessions,
                format!("{here} sessions are open from your address; more are not allowed"),
            )
            .retry_after(COME_BACK_MS));
        }
        *here += 1;
        counts.sessions += 1;
        Ok(Place { admission: Arc::clone(self), address })
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).sessions
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sessions -= 1;
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_places_back_when_its_sessions_end() {
        let admission = Admission::new(3, 2);
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = admission.admit(one).expect("a place");
        let _second = admission.admit(one).expect("a place");
        assert_eq!(admission.admit(one).expect_err("full").code, EndCode::TooManySessions);
        let _third = admission.admit(other).expect("a place");
        assert_eq!(admission.admit(other).expect_err("full").code, EndCode::Overloaded);
        drop(first);
        assert_eq!(admission.sessions(), 2);
        assert!(admission.admit(one).is_ok());
    }

    #[test]
    fn an_address_is_counted_as_its_network() {
        let counted = |text: &str| counted_as(text.parse().expect("an address")).to_string();
        assert_eq!(counted("192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
