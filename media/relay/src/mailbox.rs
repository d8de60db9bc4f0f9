//! Commands into a worker: bounded, in order, and it wakes. Packets never pass here.

use media_control::Command;
use mio::Waker;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// Mails that may wait. A sender that finds it full waits: the worker looks once a millisecond.
const CAPACITY: usize = 4096;

pub enum Mail {
    Command(Command),
    Stop,
    /// Panics, to show what happens then.
    Panic,
}

#[derive(Clone)]
pub struct Sender {
    mails: SyncSender<Mail>,
    waker: Arc<Waker>,
}

pub struct Mailbox {
    mails: Receiver<Mail>,
}

pub fn mailbox(waker: Arc<Waker>) -> (Sender, Mailbox) {
    let (sender, receiver) = sync_channel(CAPACITY);
    (
        Sender {
            mails: sender,
            waker,
        },
        Mailbox { mails: receiver },
    )
}

impl Sender {
    /// `false` if the worker has ended.
    pub fn send(&self, mail: Mail) -> bool {
        if self.mails.send(mail).is_err() {
            return false;
        }
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "a worker cannot be woken");
        }
        true
    }
}

impl Mailbox {
    /// Empties it; `true` if the worker was told to stop.
    pub fn discard(&self) -> bool {
        while let Some(mail) = self.next() {
            match mail {
                Mail::Stop => return true,
                Mail::Command(_) | Mail::Panic => {}
            }
        }
        false
    }

    pub fn next(&self) -> Option<Mail> {
        match self.mails.try_recv() {
            Ok(mail) => Some(mail),
            Err(TryRecvError::Empty) => None,
            // Nobody is left who could say it.
            Err(TryRecvError::Disconnected) => Some(Mail::Stop),
        }
    }
}
