//! Numbers for Prometheus. Anybody may count; a scrape reads all.
//!
//! No name of a person, number or address is ever a label: the page is open.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// Series of one metric; what comes after shares one with the label values "other".
const MAX_SERIES: usize = 256;

/// One number. Clones are the same number.
#[derive(Clone, Debug, Default)]
pub struct Number(Arc<AtomicI64>);

impl Number {
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends with `_total`.
    Counter,
    Gauge,
    /// A gauge from 0 to 1, set in thousandths; its name ends with `_ratio`.
    Ratio,
}

type Labels = Vec<(&'static str, String)>;

struct Family {
    help: &'static str,
    kind: Kind,
    series: BTreeMap<Labels, Number>,
}

type Collector = Box<dyn Fn(&Metrics) + Send + Sync>;

#[derive(Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<&'static str, Family>>,
    collectors: Mutex<Vec<Collector>>,
}

impl Metrics {
    /// The number of that name and labels, made at the first call. Keep it: looking it up takes a lock.
    pub fn number(
        &self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Number {
        let Ok(mut families) = self.families.lock() else {
            return Number::default();
        };
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            series: BTreeMap::new(),
        });
        let mut labels: Labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        if family.series.len() >= MAX_SERIES && !family.series.contains_key(&labels) {
            labels
                .iter_mut()
                .for_each(|(_, value)| "other".clone_into(value));
        }
        family.series.entry(labels).or_default().clone()
    }

    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Number {
        self.number(Kind::Counter, name, help, labels)
    }

    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Number {
        self.number(Kind::Gauge, name, help, labels)
    }

    /// Called at each scrape, to fetch what is counted elsewhere.
    pub fn on_scrape(&self, collect: impl Fn(&Metrics) + Send + Sync + 'static) {
        if let Ok(mut collectors) = self.collectors.lock() {
            collectors.push(Box::new(collect));
        }
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn text(&self) -> String {
        if let Ok(collectors) = self.collectors.lock() {
            collectors.iter().for_each(|collect| collect(self));
        }
        let mut text = String::new();
        let Ok(families) = self.families.lock() else {
            return text;
        };
        for (name, family) in &*families {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge | Kind::Ratio => "gauge",
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, number) in &family.series {
                text.push_str(name);
                for (i, (label, value)) in labels.iter().enumerate() {
                    let value = value
                        .replace('\\', "\\\\")
                        .replace('"', "\\\"")
                        .replace('\n', "\\n");
                    let _ = write!(
                        text,
                        "{}{label}=\"{value}\"",
                        if i == 0 { '{' } else { ',' }
                    );
                }
                let close = if labels.is_empty() { "" } else { "}" };
                let _ = match family.kind {
                    Kind::Counter | Kind::Gauge => writeln!(text, "{close} {}", number.get()),
                    Kind::Ratio => writeln!(text, "{close} {:.3}", number.get() as f64 / 1000.0),
                };
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics
            .counter(
                "trunkgate_calls_total",
                "Calls begun.",
                &[("direction", "in")],
            )
            .add(2);
        metrics
            .counter(
                "trunkgate_calls_total",
                "Calls begun.",
                &[("direction", "o\"ut\n")],
            )
            .increment();
        metrics.on_scrape(|metrics| metrics.gauge("trunkgate_up", "Whether it is.", &[]).set(1));
        assert_eq!(
            metrics.text(),
            "# HELP trunkgate_calls_total Calls begun.\n# TYPE trunkgate_calls_total counter\n\
             trunkgate_calls_total{direction=\"in\"} 2\ntrunkgate_calls_total{direction=\"o\\\"ut\\n\"} 1\n\
             # HELP trunkgate_up Whether it is.\n# TYPE trunkgate_up gauge\ntrunkgate_up 1\n"
        );
    }

    #[test]
    fn a_ratio_is_set_in_thousandths_and_told_as_a_fraction() {
        let metrics = Metrics::default();
        metrics
            .number(Kind::Ratio, "trunkgate_busy_ratio", "How busy.", &[])
            .set(42);
        assert_eq!(
            metrics.text(),
            "# HELP trunkgate_busy_ratio How busy.\n# TYPE trunkgate_busy_ratio gauge\ntrunkgate_busy_ratio 0.042\n"
        );
    }

    #[test]
    fn labels_do_not_grow_without_limit() {
        let metrics = Metrics::default();
        for i in 0..2 * MAX_SERIES {
            metrics
                .counter("x_total", "X.", &[("n", &i.to_string())])
                .increment();
        }
        let text = metrics.text();
        assert_eq!(text.lines().count(), 2 + MAX_SERIES + 1);
        assert!(text.contains("x_total{n=\"other\"} 256"));
    }
}
