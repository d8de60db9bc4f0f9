use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// The one table that knows what is due next.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "K: Ord + Clone + Serialize + serde::de::DeserializeOwned")]
pub struct Schedule<K> {
    due: BTreeSet<(Instant, K)>,
    at: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Default for Schedule<K> {
    fn default() -> Self {
        Schedule {
            due: BTreeSet::new(),
            at: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Schedule<K> {
    /// Sets, moves or removes the deadline of `key`.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        if let Some(old) = self.at.remove(&key) {
            self.due.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.at.insert(key.clone(), at);
            self.due.insert((at, key));
        }
    }

    pub fn has(&self, key: &K) -> bool {
        self.at.contains_key(key)
    }

    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub fn take_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.due.first()?.clone();
        if at > now {
            return None;
        }
        self.set(key.clone(), None);
        Some(key)
    }
}
