//! What a look at a folder found, and what a salvage made of it.

use std::fmt;

use model::{LogId, RoomName, Seq};

/// What [`super::check`] found or [`super::salvage`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Why the engine does not open as it is; everything else speaks of what opens without that.
    pub broken: Option<String>,
    /// What was cut off or left out until the engine opened.
    pub cut: Vec<String>,
    /// What was made anew without a loss.
    pub mended: Vec<String>,
    /// Rooms that were found.
    pub rooms: u64,
    /// Entries that can be read.
    pub entries: u64,
    /// What cannot be read.
    pub damage: Vec<Damage>,
    /// Rooms whose log got a new name, because entries at its end are lost or may be.
    pub renamed: Vec<Renamed>,
}

/// Something that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub room: RoomName,
    /// The first entry that is hit; 0 where no entry is.
    pub from: Seq,
    /// The last one.
    pub to: Seq,
    /// How it was seen.
    pub why: String,
}

/// A room that goes on under another log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The room.
    pub room: RoomName,
    /// The log it had.
    pub from: LogId,
    /// The log it has now; clients that know the old one start anew.
    pub to: LogId,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken.is_none()
            && self.cut.is_empty()
            && self.mended.is_empty()
            && self.damage.is_empty()
    }

    /// Adds an entry that cannot be read, to the last range if it follows on that.
    pub(super) fn lost(&mut self, room: &RoomName, seq: Seq, why: &str) {
        match self.damage.last_mut() {
            Some(last) if last.room == *room && last.to + 1 == seq && last.from > 0 => {
                last.to = seq;
            }
            _ => self.damage.push(Damage {
                room: room.clone(),
                from: seq,
                to: seq,
                why: why.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.broken {
            writeln!(f, "does not open: {why}")?;
        }
        for cut in &self.cut {
            writeln!(f, "cut: {cut}")?;
        }
        for mended in &self.mended {
            writeln!(f, "mended: {mended}")?;
        }
        for Damage { room, from, to, why } in &self.damage {
            match from {
                0 => writeln!(f, "damaged: {room}: {why}")?,
                _ => writeln!(f, "lost: {room}: entries {from} to {to}: {why}")?,
            }
        }
        for Renamed { room, from, to } in &self.renamed {
            writeln!(f, "new log: {room}: {from} is now {to}")?;
        }
        let Report { rooms, entries, .. } = self;
        write!(f, "{rooms} rooms, {entries} entries can be read")
    }
}
