//! The front door.

use crate::api::{Input, Output, Settings};
use crate::app::Apps;
use signaling_calls as calls;
use signaling_calls::Switchboard;
use signaling_sip::time::Instant;
use std::collections::VecDeque;

/// The switchboard with the applications around it.
pub struct Desk {
    board: Switchboard,
    apps: Apps,
    outputs: VecDeque<Output>,
}

impl Desk {
    /// Only `apps` may be named by pages, whatever `config` says of them.
    pub fn new(mut config: calls::Config, _settings: impl Into<Settings>, apps: Apps) -> Desk {
        config.apps = apps.by_key.keys().cloned().collect();
        Desk {
            board: Switchboard::new(config),
            apps,
            outputs: VecDeque::new(),
        }
    }

    pub fn board(&self) -> &Switchboard {
        &self.board
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::SessionOpened {
                session,
                remote,
                token,
                ..
            } => self.board.handle(
                calls::Input::SessionOpened {
                    session,
                    remote,
                    token,
                },
                now,
            ),
            Input::Answered { .. } => {}
            Input::Apps(apps) => self.apps = apps,
            Input::Calls(input) => self.board.handle(input, now),
        }
        self.drain();
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.board.handle_timeout(now);
        self.drain();
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.board.poll_timeout()
    }

    fn drain(&mut self) {
        while let Some(output) = self.board.poll_output() {
            match output {
                calls::Output::Send { session, message } => self.outputs.push_back(Output::Send {
                    session,
                    message,
                    without: Vec::new(),
                }),
                calls::Output::Hook { .. }
                | calls::Output::Moved { .. }
                | calls::Output::Over { .. } => {}
                other => self.outputs.push_back(Output::Calls(other)),
            }
        }
    }
}
