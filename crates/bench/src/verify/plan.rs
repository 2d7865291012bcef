//! Who is where: which server, which rooms, who publishes.

/// One client of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// Its place in the run.
    pub(super) nth: usize,
    /// Which of the servers it dials.
    pub(super) server: usize,
    /// The rooms that it reads.
    pub(super) rooms: Vec<usize>,
    /// Its turn among those who publish, if it does.
    pub(super) turn: Option<usize>,
}

/// Every second client publishes, in each room and on each server as evenly as it comes out; every fourth
/// one is in two rooms.
pub(super) fn seats(clients: usize, servers: usize, rooms: usize) -> Vec<Seat> {
    let mut seats: Vec<Seat> = (0..clients)
        .map(|nth| {
            let (server, round) = (nth % servers, nth / servers);
            let room = round % rooms;
            let second = (rooms > 1 && nth % 4 == 3).then_some((room + 1) % rooms);
            let rooms = std::iter::once(room).chain(second).collect();
            Seat { nth, server, rooms, turn: None }
        })
        .collect();
    // Who comes to the same server and room in turn publishes and listens in turn, and on the next
    // server the other way round.
    let mut order: Vec<usize> = (0..clients).collect();
    order.sort_by_key(|nth| ((nth / servers / rooms + nth % servers) % 2, *nth));
    for (turn, nth) in order.into_iter().take(clients.div_ceil(2)).enumerate() {
        seats[nth].turn = Some(turn);
    }
    seats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_publish_and_every_room_has_both_kinds_on_every_server() {
        for (clients, servers, rooms) in [(24, 1, 3), (48, 2, 4), (1_050, 3, 10), (2, 1, 1)] {
            let seats = seats(clients, servers, rooms);
            let publishers = seats.iter().filter(|seat| seat.turn.is_some()).count();
            assert_eq!(publishers, clients / 2);
            for room in 0..rooms {
                for publishes in [true, false] {
                    let is_there = |seat: &&Seat| {
                        seat.rooms.contains(&room) && seat.turn.is_some() == publishes
                    };
                    let there: std::collections::BTreeSet<_> =
                        seats.iter().filter(is_there).map(|seat| seat.server).collect();
                    assert_eq!(there.len(), servers, "{clients} {servers} {rooms}: room {room}");
                }
            }
        }
    }

    #[test]
    fn turns_are_dense_and_some_are_in_two_rooms() {
        let seats = seats(40, 3, 5);
        let mut turns: Vec<_> = seats.iter().filter_map(|seat| seat.turn).collect();
        turns.sort_unstable();
        assert_eq!(turns, (0..20).collect::<Vec<_>>());
        assert_eq!(seats.iter().filter(|seat| seat.rooms.len() == 2).count(), 10);
        assert!(seats.iter().all(|seat| seat.rooms.len() == 1 || seat.rooms[0] != seat.rooms[1]));
    }
}
