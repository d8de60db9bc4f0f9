//! Who a call says it is from.

use crate::ask::{Caller, Destination, Identity};
use crate::numbering::{NumberForm, is_number};
use crate::plan::Plan;
use crate::rules::{Asserted, Rule, Shown};
use serde::{Deserialize, Serialize};

/// Who a call that came in by SIP says it is from; of a session the plan knows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presented {
    /// User part of From.
    pub from_user: String,
    /// User part of the P-Asserted-Identity of a trusted line.
    pub asserted_user: Option<String>,
    /// Value of Privacy.
    pub privacy: Option<String>,
}

impl Presented {
    fn wants_privacy(&self) -> bool {
        let hides = |value: &String| {
            value
                .split([';', ',', ' '])
                .any(|word| matches!(word.trim(), "id" | "user" | "header"))
        };
        self.privacy.as_ref().is_some_and(hides) || self.from_user.eq_ignore_ascii_case("anonymous")
    }
}

/// The caller as far as the plan knows it.
pub(crate) struct Known {
    /// In E.164, an extension, or empty.
    number: String,
    /// The caller itself asked not to be shown.
    hidden: bool,
}

impl Known {
    /// The same without the wish to be hidden.
    pub(crate) fn open(&self) -> Known {
        Known {
            number: self.number.clone(),
            hidden: false,
        }
    }
}

impl Plan {
    pub(crate) fn known(&self, caller: &Caller, presented: &Presented) -> Known {
        let number_or_nothing = |text: &str| match is_number(text) {
            true => self.numbering.normalise(text),
            false => String::new(),
        };
        let number = match caller {
            Caller::Session { number, .. } if !number.is_empty() => number_or_nothing(number),
            Caller::Session { account, .. } => {
                number_or_nothing(account.split('@').next().unwrap_or_default())
            }
            // What it signed in with, whatever it writes into From.
            Caller::Phone(user) => number_or_nothing(user),
            Caller::Trunk(name) => {
                let form = self.form(name);
                let shown = presented.asserted_user.as_deref();
                let shown = shown.filter(|user| is_number(user));
                let shown = shown.unwrap_or(&presented.from_user);
                match is_number(shown) {
                    true => self.numbering.from_trunk(form, shown),
                    false => String::new(),
                }
            }
        };
        Known {
            number,
            hidden: presented.wants_privacy(),
        }
    }

    /// How the caller is shown to one destination. `called`: what was called, in E.164 where it has one.
    pub(crate) fn identity(
        &self,
        rule: &Rule,
        known: &Known,
        to: &Destination,
        called: &str,
    ) -> Identity {
        let form = match to {
            Destination::Trunk(name) => Some(self.form(name)),
            Destination::Phone(_) | Destination::App { .. } | Destination::Account(_) => None,
        };
        let written = |number: &str| self.written(form, number);
        let fixed = match &rule.caller {
            Shown::Keep | Shown::Anonymous => None,
            Shown::Number(number) => Some(number.clone()),
            Shown::Extension(head) if !known.number.starts_with('+') => {
                Some(format!("{head}{}", known.number))
            }
            Shown::Extension(_) => Some(known.number.clone()),
        };
        let hidden = rule.caller == Shown::Anonymous || (known.hidden && fixed.is_none());
        let behind = written(fixed.as_deref().unwrap_or(&known.number));
        let asserted = match (&rule.asserted, form) {
            (_, None) | (Asserted::Off, _) => None,
            (Asserted::Number(number), _) => Some(written(number)),
            (Asserted::Caller, Some(_)) => Some(behind.clone()).filter(|user| !user.is_empty()),
        };
        let diversion =
            (rule.diversion && form.is_some() && is_number(called)).then(|| written(called));
        Identity {
            from_user: if hidden {
                "anonymous".to_owned()
            } else {
                behind
            },
            asserted_user: asserted,
            privacy: hidden.then(|| "id".to_owned()),
            diversion,
        }
    }

    /// Empty where the destination cannot be told this number: an extension means nothing to a carrier.
    fn written(&self, form: Option<NumberForm>, number: &str) -> String {
        match form {
            None | Some(NumberForm::AsIs) => number.to_owned(),
            Some(_) if !number.starts_with('+') => String::new(),
            Some(form) => self.numbering.for_trunk(form, number),
        }
    }
}
