//! Who a session is: verified here and now, since that takes microseconds.

use std::sync::Arc;

use model::{End, EndCode, Refusal, RefusalCode};
use session::log::SessionKey;
use session::server::{Identity, IdentityFault};

use super::ToShard;
use super::core::Core;
use crate::directory::Whereabouts;
use crate::identity::{Credentials, Unverified, Verified};

impl Core {
    /// Answers a session's wish to be somebody: by its hello, or by a renewal.
    pub(super) fn authenticate(
        &mut self,
        index: u32,
        token: Option<String>,
        name: Option<String>,
        resume_token: Option<String>,
    ) {
        let now = self.now;
        let Some(Some(conn)) = self.conns.get_mut(index as usize) else {
            return;
        };
        // A token in the metadata is good beside a name in hello: where it is wanted, it decides.
        let shown = conn.shown.as_deref().filter(|_| token.is_none());
        let credentials = Credentials {
            token: token.as_deref().or_else(|| shown?.token.as_deref()),
            name: name.as_deref().or_else(|| shown?.name.as_deref()),
        };
        let standing = conn.known.clone();
        let identity = match self.shared.door.verify(credentials, now) {
            Err(why) => Err(IdentityFault::Refused(refusal(why))),
            Ok(verified) => match standing {
                Some((session, generation)) => Ok(self.identity(verified, session, generation)),
                None => self.enter(index, verified, resume_token.as_deref()),
            },
        };
        if let Some(Some(conn)) = self.conns.get_mut(index as usize) {
            conn.session.handle_identity(now, identity, &mut self.logs);
        }
    }

    /// A session begins here, or goes on here: an older connection of it ends.
    fn enter(
        &mut self,
        index: u32,
        verified: Verified,
        resume_token: Option<&str>,
    ) -> Result<Identity, IdentityFault> {
        let user = &verified.user.id;
        let (session, generation) =
            self.shared.door.session(user, resume_token, self.now, &mut self.seed);
        let here = Whereabouts { shard: self.number, session: SessionKey(index), generation };
        match self.shared.directory.enter(&session, here) {
            Some(newest) if newest == here => {
                return Err(IdentityFault::Ended(End::new(EndCode::Replaced)));
            }
            Some(older) => {
                let message = ToShard::Replaced(older.session, session.clone(), older.generation);
                if !self.shared.shards.try_send(older.shard, message) {
                    tracing::debug!(%session, "an older connection of a session stays a while");
                }
            }
            None => {}
        }
        if let Some(Some(conn)) = self.conns.get_mut(index as usize) {
            conn.known = Some((session.clone(), generation));
            conn.shown = None;
        }
        Ok(self.identity(verified, session, generation))
    }

    fn identity(
        &self,
        verified: Verified,
        session: model::SessionId,
        generation: model::Generation,
    ) -> Identity {
        let resume_token =
            self.shared.door.resume_token(&session, &verified.user.id, generation, self.now);
        Identity {
            user: verified.user,
            session,
            generation,
            roles: Arc::clone(&verified.roles),
            expires_at_ms: verified.expires_at_ms,
            resume_token,
            service: verified.service,
        }
    }
}

/// Why a session is not let in, in the words of the contract.
pub(crate) fn refusal(why: Unverified) -> Refusal {
    match why {
        Unverified::Invalid(text) => Refusal::because(RefusalCode::TokenInvalid, text),
        Unverified::Expired => Refusal::new(RefusalCode::TokenExpired),
        Unverified::Name(text) => Refusal::because(RefusalCode::NameNotAllowed, text),
    }
}
