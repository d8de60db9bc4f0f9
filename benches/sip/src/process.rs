//! What the kernel knows about a process.

use std::fs;
use std::process::{Child, Command};

/// CPU that a process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// By the scheduler's clock, in microseconds: all threads.
    pub total: f64,
    /// By ticks of 10 ms, only good for the share of each.
    pub user: f64,
    pub system: f64,
}

pub fn cpu(pid: u32) -> Cpu {
    let mut total = 0.0;
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
        total += ns.unwrap_or(0.0) / 1000.0;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name is in parentheses and may hold spaces.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| {
        let field = after.split_whitespace().nth(n);
        field.and_then(|f| f.parse().ok()).unwrap_or(0.0)
    };
    Cpu {
        total,
        user: field(11),
        system: field(12),
    }
}

impl Cpu {
    /// Microseconds of user and system time since `before`.
    pub fn since(&self, before: &Cpu) -> (f64, f64) {
        let total = self.total - before.total;
        let (user, system) = (self.user - before.user, self.system - before.system);
        let share = user / (user + system).max(1.0);
        (total * share, total * (1.0 - share))
    }
}

/// Keeps a process, all its threads, on one core.
pub fn pin(pid: u32, core: usize) {
    let _ = Command::new("taskset")
        .args(["-acp", &core.to_string(), &pid.to_string()])
        .output();
}

/// A child that ends with its owner.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
