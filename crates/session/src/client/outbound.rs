//! What goes out, pulled one frame at a time: a frame is made when it can be written, so that nothing
//! of an earlier connection can be left over.

use model::{ClientFrame, ClientSays, Hello, Subscribe};

use super::connection::Phase;
use super::{Client, Control, Expected};

impl Client {
    /// The next frame to send. Hello first, signs of life before wishes, publishes last.
    pub fn poll_transmit(&mut self) -> Option<ClientFrame> {
        if !self.is_connected() {
            return None;
        }
        if std::mem::take(&mut self.hello_due) {
            let hello = self.hello();
            return Some(self.frame(ClientSays::Hello(Box::new(hello)), Expected::Hello));
        }
        if std::mem::take(&mut self.heartbeat_due) {
            return Some(ClientFrame {
                r#ref: 0,
                says: ClientSays::Heartbeat,
            });
        }
        if std::mem::take(&mut self.authenticate_due)
            && let Some(token) = self.options.token.clone()
        {
            return Some(self.frame(ClientSays::Authenticate { token }, Expected::Authenticate));
        }
        self.next_control()
            .or_else(|| self.next_ask())
            .or_else(|| self.next_publish())
    }

    fn hello(&self) -> Hello {
        let subscribe = self.rooms.iter().filter_map(|(name, room)| {
            let wish = room.wish.as_ref().filter(|_| room.in_hello)?;
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

    fn next_control(&mut self) -> Option<ClientFrame> {
        while let Some(control) = self.controls.pop_front() {
            let frame = match control {
                Control::Subscribe(room) => self.subscribe_frame(room),
                Control::Unsubscribe(room) => {
                    let says = ClientSays::Unsubscribe { room: room.clone() };
                    Some(self.frame(says, Expected::Unsubscribe(room)))
                }
                Control::Mark(room) => self.rooms.get(&room).map(|r| r.mark).map(|seq| {
                    let says = ClientSays::Mark {
                        room: room.clone(),
                        seq,
                    };
                    self.frame(says, Expected::Mark(room))
                }),
                Control::Signal(says) => Some(ClientFrame {
                    r#ref: 0,
                    says: *says,
                }),
            };
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    /// Stated as late as possible, so that `after` is what is held now.
    fn subscribe_frame(&mut self, name: model::RoomName) -> Option<ClientFrame> {
        let room = self.rooms.get(&name)?;
        let wish = room.wish.as_ref()?;
        let subscribe = Subscribe {
            room: name.clone(),
            after: room.resume_from(),
            recent: wish.recent,
            summary: wish.summary,
            presence_data: wish.presence_data.clone(),
        };
        Some(self.frame(ClientSays::Subscribe(subscribe), Expected::Subscribe(name)))
    }

    /// Pages and summaries wait for the welcome: they are worth nothing if it does not come.
    fn next_ask(&mut self) -> Option<ClientFrame> {
        if !matches!(self.phase, Phase::Up { .. }) {
            return None;
        }
        let (ticket, says) = self.asks.send()?;
        Some(self.frame(says, Expected::Ask(ticket)))
    }
}
