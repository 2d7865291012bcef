//! Who is where: which server, which rooms, who publishes.

/// One client of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// Its place in the run.
    pub(super) nth: usize,
    /// Which of the servers it dials.
    pub(super) server: usize,
    /// The rooms that it reads.
    pub(super) reads: Vec<usize>,
    /// The rooms that it publishes to, in turn, if it does.
    pub(super) writes: Vec<usize>,
    /// Its turn among those who publish, if it does.
    pub(super) turn: Option<usize>,
}

/// Every second client publishes, in each room and on each server as evenly as it comes out; every fourth
/// one is in two rooms. Every fourth of those who publish does so to a room that it does not read, where
/// there is one: it has nothing but the service's answer to go by, while others see their own message.
pub(super) fn seats(clients: usize, servers: usize, rooms: usize) -> Vec<Seat> {
    let mut seats: Vec<Seat> = (0..clients)
        .map(|nth| {
            let (server, round) = (nth % servers, nth / servers);
            // Shifted from server to server: few clients on many servers fill the rooms too.
            let room = (round + server) % rooms;
            let second = (rooms > 1 && nth % 4 == 3).then_some((room + 1) % rooms);
            let reads: Vec<usize> = std::iter::once(room).chain(second).collect();
            Seat { nth, server, writes: reads.clone(), reads, turn: None }
        })
        .collect();
    // Who comes to the same server and room in turn publishes and listens in turn, and on the next
    // server the other way round.
    let mut order: Vec<usize> = (0..clients).collect();
    order.sort_by_key(|nth| ((nth / servers / rooms + nth % servers) % 2, *nth));
    for (turn, nth) in order.into_iter().take(clients.div_ceil(2)).enumerate() {
        let seat = &mut seats[nth];
        seat.turn = Some(turn);
        let beside = (1..rooms).map(|step| (seat.reads[0] + step) % rooms);
        let unread = beside.into_iter().find(|room| !seat.reads.contains(room));
        if let Some(room) = unread.filter(|_| turn % 4 == 1) {
            seat.writes = vec![room];
        }
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
                        let (there, writes) = (seat.reads.contains(&room), seat.turn.is_some());
                        there && writes == publishes
                    };
                    let there: std::collections::BTreeSet<_> =
                        seats.iter().filter(is_there).map(|seat| seat.server).collect();
                    assert_eq!(there.len(), servers, "{clients} {servers} {rooms}: room {room}");
                }
            }
        }
    }

    #[test]
    fn few_clients_on_many_servers_are_in_nearly_all_rooms() {
        let seats = seats(45, 18, 20);
        let rooms: std::collections::BTreeSet<_> = seats.iter().map(|seat| seat.reads[0]).collect();
        assert!(rooms.len() >= 18, "{rooms:?}");
    }

    #[test]
    fn turns_are_dense_and_some_are_in_two_rooms_or_write_where_they_do_not_read() {
        let seats = seats(40, 3, 5);
        let mut turns: Vec<_> = seats.iter().filter_map(|seat| seat.turn).collect();
        turns.sort_unstable();
        assert_eq!(turns, (0..20).collect::<Vec<_>>());
        assert_eq!(seats.iter().filter(|seat| seat.reads.len() == 2).count(), 10);
        assert!(seats.iter().all(|seat| seat.reads.len() == 1 || seat.reads[0] != seat.reads[1]));
        let blind = |seat: &&Seat| seat.writes.iter().all(|room| !seat.reads.contains(room));
        let blind: Vec<_> = seats.iter().filter(blind).collect();
        assert_eq!(blind.len(), 5);
        assert!(blind.iter().all(|seat| seat.turn.is_some()));
        assert!(super::seats(9, 1, 1).iter().all(|seat| seat.writes == [0]), "there is no other");
    }
}
