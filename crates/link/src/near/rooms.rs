//! The rooms of one owner on a lane, by name and by slot.

use std::collections::{BTreeMap, BTreeSet};

use cluster::slot_of;
use model::{RoomName, SlotNo};

use super::room::Room;

/// A slot leaves as a whole, so its rooms have to be found without a walk over all others.
#[derive(Debug)]
pub(crate) struct Rooms {
    slots: u32,
    by_name: BTreeMap<RoomName, Room>,
    by_slot: BTreeMap<SlotNo, BTreeSet<RoomName>>,
}

impl Rooms {
    pub(crate) fn new(slots: u32) -> Rooms {
        Rooms { slots, by_name: BTreeMap::new(), by_slot: BTreeMap::new() }
    }

    pub(crate) fn slot_of(&self, name: &RoomName) -> SlotNo {
        slot_of(name, self.slots)
    }

    pub(crate) fn get(&self, name: &RoomName) -> Option<&Room> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &RoomName) -> Option<&mut Room> {
        self.by_name.get_mut(name)
    }

    /// The room, which is made if need be.
    pub(crate) fn entry(&mut self, name: &RoomName) -> &mut Room {
        if !self.by_name.contains_key(name) {
            self.insert(name.clone(), Room::default());
        }
        self.by_name.entry(name.clone()).or_default()
    }

    pub(crate) fn insert(&mut self, name: RoomName, room: Room) {
        self.by_slot.entry(self.slot_of(&name)).or_default().insert(name.clone());
        self.by_name.insert(name, room);
    }

    pub(crate) fn remove(&mut self, name: &RoomName) -> Option<Room> {
        let room = self.by_name.remove(name)?;
        let slot = self.slot_of(name);
        if let Some(names) = self.by_slot.get_mut(&slot) {
            names.remove(name);
            if names.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
        Some(room)
    }

    /// Takes out all rooms of a slot.
    pub(crate) fn part(&mut self, slot: SlotNo) -> Vec<(RoomName, Room)> {
        let names = self.by_slot.remove(&slot).unwrap_or_default();
        names.into_iter().filter_map(|name| self.by_name.remove_entry(&name)).collect()
    }

    pub(crate) fn holds(&self, slot: SlotNo) -> bool {
        self.by_slot.contains_key(&slot)
    }

    pub(crate) fn names(&self) -> Vec<RoomName> {
        self.by_name.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
