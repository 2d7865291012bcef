//! What goes out, pulled one frame at a time: a frame is made when it can be written, so that nothing
//! of an earlier connection can be left over.

use model::{ClientFrame, ClientSays, Hello, RoomName, Subscribe};

use super::line::{Side, SocketNo};
use super::pace::Rate;
use super::{Client, Control, Expected};

impl Client {
    /// The next frame to send over a connection. Hello first, signs of life before wishes, publishes
    /// last.
    pub fn poll_transmit(&mut self, socket: SocketNo) -> Option<ClientFrame> {
        let side = self.side_of(socket)?;
        let line = &mut self.lines[side];
        if !line.is_connected() {
            return None;
        }
        if std::mem::take(&mut line.hello_due) {
            let hello = self.hello(side);
            return Some(self.frame(side, ClientSays::Hello(Box::new(hello)), Expected::Hello));
        }
        if std::mem::take(&mut line.heartbeat_due) {
            return Some(ClientFrame { r#ref: 0, says: ClientSays::Heartbeat });
        }
        if std::mem::take(&mut line.authenticate_due)
            && let Some(token) = self.options.token.clone()
        {
            let says = ClientSays::Authenticate { token };
            return Some(self.frame(side, says, Expected::Authenticate));
        }
        let control = self.next_control(side);
        if control.is_some() || side != self.main {
            return control;
        }
        self.next_ask().or_else(|| self.next_publish())
    }

    fn hello(&self, side: Side) -> Hello {
        let subscribe = self.rooms.iter().filter_map(|(name, room)| {
            let wish = room.wish.as_ref().filter(|_| room.readers[side].in_hello)?;
            Some(Subscribe {
                room: name.clone(),
                after: room.resume_from(),
                recent: wish.recent,
                summary: wish.summary,
                presence_data: wish.presence_data.clone(),
            })
        });
        Hello {
            token: self.options.token.clone(),
            name: self.options.name.clone(),
            client: self.options.client.clone(),
            resume_token: self.resume_token.clone(),
            subscribe: subscribe.collect(),
            faulty: Vec::new(),
            features: Vec::new(),
        }
    }

    /// The first control that the server's rates allow now. Those about rooms keep their order.
    fn next_control(&mut self, side: Side) -> Option<ClientFrame> {
        let mut at = 0;
        let mut rooms_wait = false;
        while let Some(control) = self.lines[side].controls.get(at) {
            let rate = match control {
                Control::Subscribe(_) => Some(Rate::Subscribes),
                Control::Unsubscribe(_) => None,
                Control::Mark(_) => Some(Rate::Requests),
                Control::Signal(_) => Some(Rate::Publishes),
            };
            let of_room = matches!(control, Control::Subscribe(_) | Control::Unsubscribe(_));
            if (of_room && rooms_wait) || !rate.is_none_or(|rate| self.admit(side, rate)) {
                rooms_wait |= of_room;
                at += 1;
                continue;
            }
            let control = self.lines[side].controls.remove(at)?;
            if let Some(frame) = self.control_frame(side, control) {
                return Some(frame);
            }
        }
        None
    }

    fn control_frame(&mut self, side: Side, control: Control) -> Option<ClientFrame> {
        match control {
            Control::Subscribe(room) => self.subscribe_frame(side, room),
            Control::Unsubscribe(room) => {
                let says = ClientSays::Unsubscribe { room: room.clone() };
                Some(self.frame(side, says, Expected::Unsubscribe(room)))
            }
            Control::Mark(name) => {
                let room = self.rooms.get_mut(&name)?;
                (room.mark_due, room.mark_out, room.mark_sent) = (false, true, room.mark);
                let says = ClientSays::Mark { room: name.clone(), seq: room.mark };
                Some(self.frame(side, says, Expected::Mark(name)))
            }
            Control::Signal(says) => Some(ClientFrame { r#ref: 0, says: *says }),
        }
    }

    /// Whether the server's rates allow one more; if not, wakes when they do.
    pub(super) fn admit(&mut self, side: Side, rate: Rate) -> bool {
        match self.lines[side].pace.take(rate, self.now_us) {
            Ok(()) => true,
            Err(at_us) => {
                self.wake_at(at_us);
                false
            }
        }
    }

    /// Stated as late as possible, so that `after` is what is held now.
    fn subscribe_frame(&mut self, side: Side, name: RoomName) -> Option<ClientFrame> {
        let room = self.rooms.get(&name)?;
        let wish = room.wish.as_ref()?;
        let subscribe = Subscribe {
            room: name.clone(),
            after: room.resume_from(),
            recent: wish.recent,
            summary: wish.summary,
            presence_data: wish.presence_data.clone(),
        };
        Some(self.frame(side, ClientSays::Subscribe(subscribe), Expected::Subscribe(name)))
    }

    /// Pages and summaries wait for the welcome: they are worth nothing if it does not come.
    fn next_ask(&mut self) -> Option<ClientFrame> {
        let side = self.main;
        let is_up = self.lines[side].is_up();
        if !is_up || !self.asks.is_ready() || !self.admit(side, Rate::Requests) {
            return None;
        }
        let (ticket, says) = self.asks.send()?;
        Some(self.frame(side, says, Expected::Ask(ticket)))
    }
}
