//! What the people of one room do, step by step.

use std::collections::HashMap;

use model::{NameError, RoomName, limits};

use super::line::{Kind, Line};

/// A person of one room, by order of appearance.
pub type Nick = usize;

/// A room's day.
///
/// # Invariants
/// - Who says something or leaves is present; who comes is not.
/// - The steps are in the order of the log.
#[derive(Clone, Debug)]
pub struct Script {
    /// The room.
    pub room: RoomName,
    /// Who appears; a [`Nick`] is an index here.
    pub nicks: Vec<String>,
    /// What they do.
    pub steps: Vec<Step>,
    /// The most who are present at one time.
    pub peak: usize,
    present: Vec<bool>,
    present_count: usize,
    by_name: HashMap<String, Nick>,
}

/// Something that somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in the log's time.
    pub at_ms: u64,
    /// Who.
    pub nick: Nick,
    /// What.
    pub deed: Deed,
}

/// What somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Comes.
    Come,
    /// Says this.
    Say(String),
    /// Leaves.
    Leave,
}

impl Script {
    /// A room in which nobody has appeared yet.
    ///
    /// # Errors
    /// The room's name is not one.
    pub fn new(room: &str) -> Result<Script, NameError> {
        Ok(Script {
            room: RoomName::new(room)?,
            nicks: Vec::new(),
            steps: Vec::new(),
            peak: 0,
            present: Vec::new(),
            present_count: 0,
            by_name: HashMap::new(),
        })
    }

    /// Adds the log's next line. Who speaks without having come comes first; a second coming, and the
    /// leaving of somebody who is not there, mean nothing (logs have both).
    ///
    /// # Errors
    /// A sentence, when no session can do what the line says.
    pub fn add(&mut self, line: Line) -> Result<(), String> {
        if line.user.is_empty() || line.user.len() > limits::USER_NAME_BYTES_MAX {
            return Err(format!(
                "the user has {} bytes; 1 to {} are allowed",
                line.user.len(),
                limits::USER_NAME_BYTES_MAX
            ));
        }
        let at_ms = line.at_ms;
        let nick = self.nick(&line.user);
        match line.kind {
            Kind::Join => self.come(at_ms, nick),
            Kind::Leave if self.present[nick] => {
                self.present[nick] = false;
                self.present_count -= 1;
                self.steps.push(Step { at_ms, nick, deed: Deed::Leave });
            }
            Kind::Leave => {}
            Kind::Message | Kind::Action => {
                let text = match line.kind {
                    Kind::Action => format!("* {} {}", line.user, line.text),
                    _ => line.text,
                };
                self.come(at_ms, nick);
                self.steps.push(Step { at_ms, nick, deed: Deed::Say(text) });
            }
        }
        Ok(())
    }

    /// How many messages are published.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.deed, Deed::Say(_))).count()
    }

    fn come(&mut self, at_ms: u64, nick: Nick) {
        if !std::mem::replace(&mut self.present[nick], true) {
            self.present_count += 1;
            self.peak = self.peak.max(self.present_count);
            self.steps.push(Step { at_ms, nick, deed: Deed::Come });
        }
    }

    fn nick(&mut self, user: &str) -> Nick {
        if let Some(nick) = self.by_name.get(user) {
            return *nick;
        }
        let nick = self.nicks.len();
        self.nicks.push(user.to_owned());
        self.present.push(false);
        self.by_name.insert(user.to_owned(), nick);
        nick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, user: &str, text: &str) -> Line {
        Line {
            at_ms: 1,
            room: "tea".to_owned(),
            kind,
            user: user.to_owned(),
            text: text.to_owned(),
        }
    }

    fn script(lines: Vec<Line>) -> Script {
        let mut script = Script::new("tea").expect("a room's name");
        lines.into_iter().for_each(|line| script.add(line).expect("a sound line"));
        script
    }

    fn deeds(script: &Script) -> Vec<(&str, &Deed)> {
        script.steps.iter().map(|step| (&*script.nicks[step.nick], &step.deed)).collect()
    }

    #[test]
    fn who_speaks_without_having_come_comes_first_and_only_once() {
        let script = script(vec![
            line(Kind::Message, "ann", "hi"),
            line(Kind::Join, "ann", ""),
            line(Kind::Message, "ann", "there"),
        ]);
        let said = |text: &str| Deed::Say(text.to_owned());
        assert_eq!(
            deeds(&script),
            [("ann", &Deed::Come), ("ann", &said("hi")), ("ann", &said("there"))]
        );
        assert_eq!((script.messages(), script.peak), (2, 1));
    }

    #[test]
    fn leaving_counts_only_for_who_is_there_and_a_return_is_a_second_coming() {
        let script = script(vec![
            line(Kind::Leave, "bob", ""),
            line(Kind::Join, "bob", ""),
            line(Kind::Leave, "bob", ""),
            line(Kind::Join, "ann", ""),
            line(Kind::Join, "bob", ""),
        ]);
        let names: Vec<_> = deeds(&script);
        assert_eq!(
            names,
            [
                ("bob", &Deed::Come),
                ("bob", &Deed::Leave),
                ("ann", &Deed::Come),
                ("bob", &Deed::Come)
            ]
        );
        assert_eq!(script.peak, 2);
    }

    #[test]
    fn an_action_is_told_in_the_third_person() {
        let script = script(vec![line(Kind::Action, "ann", "pours tea")]);
        assert_eq!(script.steps[1].deed, Deed::Say("* ann pours tea".to_owned()));
    }

    #[test]
    fn a_nick_without_a_name_and_a_room_without_one_are_faults() {
        let mut script = Script::new("tea").expect("a room's name");
        assert!(script.add(line(Kind::Join, "", "")).is_err());
        assert!(Script::new("no room").is_err());
    }
}
