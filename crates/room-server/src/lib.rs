//! Drives rooms and slots: a task a slot, the link service, readers of the log.
