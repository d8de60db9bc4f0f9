//! Each method and event of sessions and calls with its body, field by field.

use crate::rig::{Rig, app, browser_answer, by_peer};
use serde_json::{Value, json};
use signaling_trunk::api::{Cause, End, Event, Failure, ForkId};
use std::time::Duration;

#[test]
fn smoke() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.register(1);
    println!("{:#?} {:?} {:?}", rig.told(1), rig.hooks(), rig.closed);
    rig.talk(1, "c1");
    println!("{:#?} {:?} {:?}", rig.told(1), rig.hooks(), rig.closed);
    for p in &rig.posted {
        println!("{} {}", p.request.method.as_str(), p.body);
    }
    let i = rig.ring(1);
    rig.settle();
    println!("{:#?} {:?} {:?}", rig.told(1), rig.hooks(), rig.closed);
    for p in &rig.posted {
        println!("{} {}", p.request.method.as_str(), p.body);
    }
}
