//! The commands for applications, words and order as in WCS (protocol §6), with options of our own beside them.

use super::{SettingArguments, Where, phones};
use crate::apps::{Book, Record, Store, all_methods};
use crate::config::Arguments;
use clap::{Args, Subcommand, ValueEnum};
use signaling_backend::RawSip;
use signaling_protocol::{HookKind, HookMethod, LineIdentity};
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum Show {
    /// All applications: name, appKey, URL and owner.
    Apps {
        /// With all their settings.
        #[arg(short)]
        details: bool,
        #[command(flatten)]
        place: Where,
    },
    /// One application with all its settings, secrets left out.
    App {
        #[arg(value_name = "name")]
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// All hooks that there are, and when each is called.
    RestMethods,
    /// The hooks that an application has on.
    AppRestMethods {
        #[arg(value_name = "appKey")]
        key: String,
        #[command(flatten)]
        place: Where,
    },
    /// Who may register to us: user, trunk, contacts, display name.
    Phones {
        #[command(flatten)]
        place: Where,
    },
}

#[derive(Debug, Subcommand)]
pub enum Add {
    /// Makes an application. None of its hooks is on before `add app-rest-method`.
    #[command(after_help = ADD_HELP)]
    App(Box<AddApp>),
    /// Turns a hook of an application on, or all of them.
    AppRestMethod(RestMethod),
    /// Lets a phone or a PBX register to us.
    Phone(Box<phones::AddPhone>),
}

#[derive(Debug, Subcommand)]
pub enum Update {
    /// Changes what is given, and leaves the rest as it is. An empty text takes a setting away.
    App(Box<UpdateApp>),
    /// Changes what is given, and leaves the rest as it is.
    Phone(Box<phones::UpdatePhone>),
}

#[derive(Debug, Subcommand)]
pub enum Remove {
    /// Takes an application away: pages with its appKey are refused.
    App {
        #[arg(value_name = "name")]
        name: String,
        /// Also one that was there from the start.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Turns a hook of an application off, or all of them.
    AppRestMethod(RestMethod),
    /// Takes a phone away: it may not register any more.
    Phone {
        #[arg(value_name = "user")]
        user: String,
        #[command(flatten)]
        place: Where,
    },
}

/// The same by the thing's name first.
#[derive(Debug, Subcommand)]
pub enum App {
    /// As `trunkgate show apps`.
    List {
        /// With all their settings.
        #[arg(short)]
        details: bool,
        #[command(flatten)]
        place: Where,
    },
    /// As `trunkgate show app`.
    Show {
        #[arg(value_name = "name")]
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// As `trunkgate add app`.
    #[command(after_help = ADD_HELP)]
    Add(Box<AddApp>),
    /// As `trunkgate update app`.
    Update(Box<UpdateApp>),
    /// As `trunkgate remove app`.
    Remove {
        #[arg(value_name = "name")]
        name: String,
        /// Also one that was there from the start.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Where,
    },
}

const ADD_HELP: &str = "\
Example:
  trunkgate add app shop shopKey https://shop.example/hooks --hook-secret-file secret.txt
  trunkgate add app-rest-method shopKey connect
  trunkgate add app-rest-method shopKey call";

#[derive(Debug, Args)]
pub struct AddApp {
    /// What it is called here.
    #[arg(value_name = "name")]
    name: String,
    /// What pages name in `appKey`.
    #[arg(value_name = "appKey")]
    key: String,
    /// Where hooks go: https://HOST[:PORT][/PATH]; "" for an application without a backend.
    #[arg(value_name = "url")]
    url: String,
    #[command(flatten)]
    rest: Options,
}

#[derive(Debug, Args)]
pub struct UpdateApp {
    /// A new appKey.
    #[arg(short = 'k', value_name = "appKey")]
    key: Option<String>,
    /// A new URL.
    #[arg(short = 'l', value_name = "url")]
    url: Option<String>,
    #[command(flatten)]
    rest: Options,
    #[arg(value_name = "name")]
    name: String,
}

#[derive(Debug, Args)]
struct Options {
    /// User for HTTP Basic at the backend.
    #[arg(short = 'u', value_name = "restUser")]
    rest_user: Option<String>,
    /// Its password. Others on this computer may see a command's arguments: --rest-password-file shows it to nobody.
    #[arg(
        short = 'p',
        value_name = "restPassword",
        conflicts_with = "rest_password_file"
    )]
    rest_password: Option<HiddenText>,
    /// The password from a file's first line; - is the standard input.
    #[arg(long, value_name = "FILE")]
    rest_password_file: Option<PathBuf>,
    /// Who answers for it; a remark.
    #[arg(short = 'o', value_name = "owner")]
    owner: Option<String>,
    /// Of WCS; taken and without meaning here.
    #[arg(short = 'm', value_name = "mainClass")]
    main_class: Option<String>,
    /// Of WCS; taken and without meaning here.
    #[arg(short = 'c', value_name = "callbackClass")]
    callback_class: Option<String>,
    /// Only pages of this origin (https://shop.example) may connect; can be repeated, and "" is any.
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// Key of the hooks' signatures. Others on this computer may see a command's arguments: better the next.
    #[arg(long, value_name = "SECRET", conflicts_with = "hook_secret_file")]
    hook_secret: Option<HiddenText>,
    /// The same from a file's first line; - is the standard input.
    #[arg(long, value_name = "FILE")]
    hook_secret_file: Option<PathBuf>,
    /// Whether `connect` may carry sipPassword over http:// to another computer.
    #[arg(long, value_name = "yes|no")]
    password_over_http: Option<YesNo>,
    /// How much of a SIP message pages and backend are told, instead of what signaling.sip_message_raw says.
    #[arg(long, value_enum)]
    sip_message_raw: Option<Raw>,
    /// Sessions at once; 0 is the gateway's limit.
    #[arg(long, value_name = "N")]
    max_sessions: Option<u32>,
    /// New sessions per second from one address; 0 is the gateway's limit.
    #[arg(long, value_name = "N")]
    connections_per_second: Option<u32>,
    /// Messages per second of one session; 0 is the gateway's limit.
    #[arg(long, value_name = "N")]
    messages_per_second: Option<u32>,
    /// Its sessions' telephone number (+4930123456, or an extension): they call from it and are called at it, without a
    /// SIP account of their own; "" takes it away.
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// The name shown beside it.
    #[arg(long, value_name = "TEXT")]
    display: Option<String>,
    /// Trunks that its sessions may use, by commas; "" is what the dial plan says.
    #[arg(long, value_name = "TRUNK,…", value_delimiter = ',')]
    trunks: Option<Vec<String>>,
    /// Beginnings of numbers that its sessions may call (+49,+43); "" is what the dial plan says.
    #[arg(long, value_name = "PREFIX,…", value_delimiter = ',')]
    prefixes: Option<Vec<String>>,
    /// Policies for each hook (restClientConfig, JSON); - is the standard input, an empty file takes them away.
    #[arg(long, value_name = "FILE")]
    rest_client_config: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub struct RestMethod {
    /// All of them, but OnDtmfEvent, which wants to be named.
    #[arg(short = 'a')]
    all: bool,
    #[arg(value_name = "appKey")]
    key: String,
    /// A name of `trunkgate show rest-methods`; sendDTMF and sendBugReport are understood too.
    method: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// An argument that no Debug shows.
#[derive(Clone)]
struct HiddenText(String);

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HiddenText(…)")
    }
}

impl From<&str> for HiddenText {
    fn from(text: &str) -> HiddenText {
        HiddenText(text.to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Raw {
    /// The whole message, keys and credentials blotted.
    Full,
    /// Its first line.
    StatusLine,
    /// Nothing.
    Off,
    /// As signaling.sip_message_raw says.
    Default,
}

/// One of all these commands.
#[derive(Debug)]
pub enum Command {
    Show(Show),
    Add(Add),
    Update(Update),
    Remove(Remove),
}

impl From<App> for Command {
    fn from(app: App) -> Command {
        match app {
            App::List { details, place } => Command::Show(Show::Apps { details, place }),
            App::Show { name, place } => Command::Show(Show::App { name, place }),
            App::Add(add) => Command::Add(Add::App(add)),
            App::Update(update) => Command::Update(Update::App(update)),
            App::Remove { name, yes, place } => Command::Remove(Remove::App { name, yes, place }),
        }
    }
}

impl Command {
    /// Where the applications are.
    pub fn arguments(&self) -> Arguments {
        let place = match self {
            Command::Show(
                Show::Apps { place, .. }
                | Show::App { place, .. }
                | Show::AppRestMethods { place, .. }
                | Show::Phones { place },
            )
            | Command::Remove(Remove::App { place, .. } | Remove::Phone { place, .. }) => place,
            Command::Add(Add::Phone(add)) => &add.place,
            Command::Update(Update::Phone(update)) => &update.place,
            Command::Show(Show::RestMethods) => return Arguments::default(),
            Command::Add(Add::App(add)) => &add.rest.place,
            Command::Update(Update::App(update)) => &update.rest.place,
            Command::Add(Add::AppRestMethod(method))
            | Command::Remove(Remove::AppRestMethod(method)) => &method.place,
        };
        let Where { config, set } = place;
        SettingArguments {
            config: config.clone(),
            set: set.clone(),
            roles: Vec::new(),
        }
        .into()
    }

    /// Whether the settings need be read for it.
    pub fn needs_settings(&self) -> bool {
        !matches!(self, Command::Show(Show::RestMethods))
    }

    /// Carries it out.
    ///
    /// # Errors
    /// A sentence: nothing has changed.
    pub fn run(self, data_dir: &Path, rules: &phones::Rules) -> Result<String, String> {
        let store = Store::new(data_dir);
        let load = || store.load().map_err(|error| format!("{error}."));
        if matches!(self, Command::Show(_)) && self.needs_settings() && !data_dir.is_dir() {
            let dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
            return Err(format!(
                "There is no folder {} (data_dir), so no gateway has run with it: say --config or --set data_dir=DIR as the gateway has it.",
                dir.display()
            ));
        }
        match self {
            Command::Show(Show::Apps { details: false, .. }) => Ok(table(load()?.apps())),
            Command::Show(Show::Apps { details: true, .. }) => {
                let book = load()?;
                let all: Vec<String> = book.apps().iter().map(details).collect();
                Ok(all.join("\n"))
            }
            Command::Show(Show::App { name, .. }) => Ok(details(load()?.by_name(&name)?)),
            Command::Show(Show::RestMethods) => Ok(methods(HookMethod::ALL.iter().copied(), true)),
            Command::Show(Show::AppRestMethods { key, .. }) => {
                let book = load()?;
                let app = book.by_key(&key)?;
                if app.methods.is_empty() {
                    return Ok(format!(
                        "No hook of {} is on.\n{}",
                        app.name,
                        how_to_turn_on(&key)
                    ));
                }
                Ok(methods(app.methods.iter().copied(), false))
            }
            Command::Show(Show::Phones { .. }) => phones::show(data_dir),
            Command::Add(Add::Phone(add)) => add.run(data_dir, rules),
            Command::Update(Update::Phone(update)) => update.run(data_dir, rules),
            Command::Remove(Remove::Phone { user, .. }) => phones::remove(&user, data_dir),
            Command::Add(Add::App(add)) => add.run(&store),
            Command::Update(Update::App(update)) => update.run(&store),
            Command::Remove(Remove::App { name, yes, .. }) => {
                if !yes && Book::default().by_name(&name).is_ok() {
                    return Err(format!(
                        "{name} was there from the start, and pages that name no application of yours use it. To remove it all the same: trunkgate remove app {name} --yes"
                    ));
                }
                store.change(|book| book.remove(&name))?;
                Ok(format!(
                    "Application {name} is removed: new pages with its appKey are refused; those that are connected keep its hooks until they leave.\n{}",
                    kept(&store)
                ))
            }
            Command::Add(Add::AppRestMethod(method)) => method.run(&store, true),
            Command::Remove(Remove::AppRestMethod(method)) => method.run(&store, false),
        }
    }
}

impl AddApp {
    fn run(self, store: &Store) -> Result<String, String> {
        let mut record = Record {
            name: self.name,
            key: self.key,
            url: self.url,
            ..Record::default()
        };
        self.rest.change()?(&mut record);
        let (name, key, url) = (record.name.clone(), record.key.clone(), record.url.clone());
        store.change(|book| book.add(record))?;
        let to = if url.is_empty() {
            "without a backend".to_owned()
        } else {
            format!("for the backend at {url}")
        };
        Ok(format!(
            "Application {name} is added {to}; its pages name the appKey {key}.\nNo hook is on yet: nobody is asked, and \
             every page is let in.\n{}{}",
            how_to_turn_on(&key),
            kept(store)
        ))
    }
}

impl UpdateApp {
    fn run(self, store: &Store) -> Result<String, String> {
        if self.key.is_none() && self.url.is_none() && self.rest.is_empty() {
            return Err(format!(
                "Nothing is given that {} should have instead; `trunkgate update app --help` lists what can be changed.",
                self.name
            ));
        }
        let change = self.rest.change()?;
        let (key, url, name) = (self.key, self.url, self.name);
        store.change(|book| {
            book.update(&name, |app| {
                if let Some(key) = key {
                    app.key = key;
                }
                if let Some(url) = url {
                    app.url = url;
                }
                change(app);
            })
        })?;
        Ok(format!("Application {name} is updated.\n{}", kept(store)))
    }
}

impl Options {
    fn is_empty(&self) -> bool {
        let texts = [
            &self.rest_user,
            &self.owner,
            &self.main_class,
            &self.callback_class,
            &self.number,
            &self.display,
        ];
        let lists = [&self.trunks, &self.prefixes];
        let secrets = [&self.rest_password, &self.hook_secret];
        let files = [
            &self.rest_password_file,
            &self.hook_secret_file,
            &self.rest_client_config,
        ];
        let numbers = [
            self.max_sessions,
            self.connections_per_second,
            self.messages_per_second,
        ];
        texts.iter().all(|text| text.is_none())
            && secrets.iter().all(|secret| secret.is_none())
            && files.iter().all(|file| file.is_none())
            && numbers.iter().all(Option::is_none)
            && lists.iter().all(|list| list.is_none())
            && self.origin.is_empty()
            && self.password_over_http.is_none()
            && self.sip_message_raw.is_none()
    }

    /// What these options change, once the files are read.
    fn change(self) -> Result<impl FnOnce(&mut Record), String> {
        let secret = |text: Option<HiddenText>, file: &Option<PathBuf>| match (text, file) {
            (Some(text), _) => Ok(Some(text.0)),
            (None, Some(file)) => {
                let text = read(file)?;
                let line = text.lines().next().unwrap_or_default();
                if line.is_empty() {
                    // Who means to sign and has an empty file would never know.
                    return Err(format!(
                        "The first line of {} is empty, and an empty secret is none.",
                        file.display()
                    ));
                }
                Ok(Some(line.to_owned()))
            }
            (None, None) => Ok::<_, String>(None),
        };
        let password = secret(self.rest_password, &self.rest_password_file)?;
        let hook_secret = secret(self.hook_secret, &self.hook_secret_file)?;
        let policies = self.rest_client_config.as_deref().map(read).transpose()?;
        Ok(move |app: &mut Record| {
            fn put<T>(field: &mut T, value: Option<T>) {
                if let Some(value) = value {
                    *field = value;
                }
            }
            if self.rest_user.as_deref() == Some("") {
                app.rest_password.clear();
            }
            put(&mut app.rest_user, self.rest_user);
            put(&mut app.rest_password, password);
            put(&mut app.owner, self.owner);
            if !self.origin.is_empty() {
                app.origins = self
                    .origin
                    .into_iter()
                    .filter(|origin| !origin.is_empty())
                    .collect();
            }
            put(&mut app.hook_secret, hook_secret);
            put(
                &mut app.password_over_http,
                self.password_over_http.map(|yes| yes == YesNo::Yes),
            );
            put(
                &mut app.sip_message_raw,
                self.sip_message_raw.map(|raw| match raw {
                    Raw::Full => Some(RawSip::Full),
                    Raw::StatusLine => Some(RawSip::StatusLine),
                    Raw::Off => Some(RawSip::Off),
                    Raw::Default => None,
                }),
            );
            let listed = |list: Vec<String>| {
                let list: Vec<String> = list.into_iter().filter(|text| !text.is_empty()).collect();
                (!list.is_empty()).then_some(list)
            };
            let mut line = app.line.take().unwrap_or_default();
            put(&mut line.number, self.number);
            put(&mut line.display, self.display);
            put(&mut line.trunks, self.trunks.map(listed));
            put(&mut line.prefixes, self.prefixes.map(listed));
            app.line = (line != LineIdentity::default()).then_some(line);
            put(&mut app.max_sessions, self.max_sessions);
            put(&mut app.connections_per_second, self.connections_per_second);
            put(&mut app.messages_per_second, self.messages_per_second);
            put(
                &mut app.rest_client_config,
                policies.map(|text| text.trim().to_owned()),
            );
        })
    }
}

impl RestMethod {
    fn run(self, store: &Store, on: bool) -> Result<String, String> {
        let wanted = match (&self.method, self.all) {
            (Some(_), true) => return Err("Give either -a or a method.".to_owned()),
            (None, false) => return Err("Which method? Give its name, or -a for all.".to_owned()),
            (None, true) if on => all_methods().into_iter().collect(),
            (None, true) => HookMethod::ALL.to_vec(),
            (Some(name), false) => vec![method(name)?],
        };
        let changed = store.change(|book| book.switch(&self.key, &wanted, on))?;
        let state = if on { "on" } else { "off" };
        let mut told = match (&wanted[..], changed) {
            ([method], 0) => format!("{method} of {} was {state} already.\n", self.key),
            ([method], _) => format!("{method} of {} is {state}.\n", self.key),
            (all, _) => format!(
                "{} hooks of {} are {state}, {changed} of them newly.\n",
                all.len(),
                self.key
            ),
        };
        if on && self.all {
            told += "OnDtmfEvent, which tells what people type, is not among them: it wants to be named.\n";
        }
        let book = store.load().map_err(|error| format!("{error}."))?;
        if on && book.by_key(&self.key)?.url.is_empty() {
            let name = &book.by_key(&self.key)?.name;
            let _ = writeln!(
                told,
                "It has no backend yet, so nothing is sent: trunkgate update app -l URL {name}"
            );
        }
        Ok(told + &kept(store))
    }
}

fn method(name: &str) -> Result<HookMethod, String> {
    HookMethod::from_configured(name).ok_or_else(|| {
        let near = HookMethod::ALL
            .iter()
            .find(|method| method.as_str().eq_ignore_ascii_case(name.trim()));
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => "`trunkgate show rest-methods` lists all.".to_owned(),
        };
        format!("\"{}\" is no REST method; {hint}", name.escape_debug())
    })
}

pub(super) fn read(file: &Path) -> Result<String, String> {
    /// Enough for any secret and any policies.
    const MOST: u64 = 128 * 1024;
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}.", file.display());
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .take(MOST)
            .read_to_string(&mut text)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(file).map_err(failed)?;
        file.take(MOST).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

fn kept(store: &Store) -> String {
    let path = store.path();
    let path = std::path::absolute(&path).unwrap_or(path);
    format!(
        "Kept in {}; a gateway that runs with this data_dir takes it up within seconds.\n",
        path.display()
    )
}

fn how_to_turn_on(key: &str) -> String {
    format!(
        "Turn them on with\n  trunkgate add app-rest-method {key} connect     one of them\n  trunkgate add app-rest-method -a \
         {key}          all of them\n"
    )
}

fn table(apps: &[Record]) -> String {
    let heads = ["NAME", "APPKEY", "URL", "OWNER"];
    let rows: Vec<[&str; 4]> = apps
        .iter()
        .map(|app| {
            let url = if app.url.is_empty() {
                "-"
            } else {
                app.url.as_str()
            };
            [app.name.as_str(), &app.key, url, &app.owner]
        })
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&heads])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [name, key, url, owner] in [heads].into_iter().chain(rows) {
        let line = format!(
            "{name:0$}  {key:1$}  {url:2$}  {owner}",
            widths[0], widths[1], widths[2]
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn details(app: &Record) -> String {
    let or = |text: &str, otherwise: &str| {
        if text.is_empty() {
            otherwise.to_owned()
        } else {
            text.to_owned()
        }
    };
    let set = |text: &String| {
        if text.is_empty() {
            "not set"
        } else {
            "set, not shown"
        }
        .to_owned()
    };
    let limit = |n: u32| {
        if n == 0 {
            "the gateway's".to_owned()
        } else {
            n.to_string()
        }
    };
    let methods = if app.methods.is_empty() {
        "none".to_owned()
    } else if app.methods == all_methods() {
        "all but OnDtmfEvent".to_owned()
    } else {
        let names: Vec<&str> = app.methods.iter().map(|method| method.as_str()).collect();
        names.join(", ")
    };
    let raw = match app.sip_message_raw {
        None => "as signaling.sip_message_raw",
        Some(RawSip::Full) => "full",
        Some(RawSip::StatusLine) => "status-line",
        Some(RawSip::Off) => "off",
    };
    let line = app.line.clone().unwrap_or_default();
    let list = |list: Option<Vec<String>>| list.unwrap_or_default().join(", ");
    let lines = [
        ("name", app.name.clone()),
        ("appKey", app.key.clone()),
        ("url", or(&app.url, "none: it has no backend")),
        ("owner", or(&app.owner, "-")),
        ("REST user", or(&app.rest_user, "-")),
        ("REST password", set(&app.rest_password)),
        ("hook secret", set(&app.hook_secret)),
        ("hooks that are on", methods),
        (
            "restClientConfig",
            or(&app.rest_client_config, "the defaults"),
        ),
        ("origins", or(&app.origins.join(", "), "any")),
        (
            "password over http",
            if app.password_over_http { "yes" } else { "no" }.to_owned(),
        ),
        ("sipMessageRaw", raw.to_owned()),
        ("number", or(&line.number, "none")),
        ("display name", or(&line.display, "-")),
        ("trunks", or(&list(line.trunks), "as the dial plan says")),
        (
            "prefixes",
            or(&list(line.prefixes), "as the dial plan says"),
        ),
        ("sessions at most", limit(app.max_sessions)),
        ("connections a second", limit(app.connections_per_second)),
        ("messages a second", limit(app.messages_per_second)),
    ];
    lines.iter().fold(String::new(), |mut text, (what, value)| {
        let _ = writeln!(text, "{what:21} {value}");
        text
    })
}

fn methods(methods: impl Iterator<Item = HookMethod>, explained: bool) -> String {
    methods.fold(String::new(), |mut text, method| {
        let when = match method.kind() {
            HookKind::Connect => "before a session is let in",
            HookKind::Invocation => "before what a page asks for is done",
            HookKind::Event => "when it has happened",
            HookKind::Incoming => "before what the network asks for is done",
        };
        let _ = if explained {
            writeln!(text, "{:24} {when}", method.as_str())
        } else {
            writeln!(text, "{method}")
        };
        text
    })
}

#[cfg(test)]
mod tests {
    use crate::cli::{CommandLine, Task};
    use crate::files::test_dir;
    use clap::Parser;
    use std::path::Path;

    fn run(dir: &Path, line: &[&str]) -> Result<String, String> {
        let words = ["trunkgate"].iter().chain(line);
        let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
        match line.task().0 {
            Task::Apps(command) => command.run(dir, &crate::cli::phones::Rules::default()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_application_is_given_a_number_trunks_and_prefixes_and_loses_them_again() {
        let dir = test_dir();
        let dir = dir.path();
        let add = ["add", "app", "shop", "shopKey", ""];
        let line = [
            "--number",
            "+4930123456",
            "--trunks",
            "a,b",
            "--prefixes",
            "+49,+43",
        ];
        run(dir, &[&add[..], &line, &["--display", "Shop"]].concat()).unwrap();
        let seen = |what: &str| {
            let all = run(dir, &["show", "app", "shop"]).unwrap();
            let line = all.lines().find(|line| line.starts_with(what)).unwrap();
            line[what.len()..].trim().to_owned()
        };
        assert_eq!(seen("number"), "+4930123456");
        assert_eq!(seen("display name"), "Shop");
        assert_eq!(seen("trunks"), "a, b");
        assert_eq!(seen("prefixes"), "+49, +43");
        let apart = ["update", "app", "--number", "", "--prefixes", "", "shop"];
        run(dir, &apart).unwrap();
        assert_eq!(seen("number"), "none");
        assert_eq!(seen("trunks"), "a, b");
        assert_eq!(seen("prefixes"), "as the dial plan says");
        for wrong in [
            ["--number", "030-1"],
            ["--prefixes", "49"],
            ["--number", "+030"],
        ] {
            let line = ["update", "app", wrong[0], wrong[1], "shop"];
            assert!(run(dir, &line).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_application_is_added_seen_changed_and_removed_with_the_words_of_wcs() {
        let dir = test_dir();
        let dir = dir.path();
        let told = run(
            dir,
            &[
                "add",
                "app",
                "shop",
                "shopKey",
                "http://backend/hooks",
                "-m",
                "a.B",
                "-c",
                "a.C",
                "-u",
                "user",
                "-p",
                "geheim",
                "-o",
                "ann",
            ],
        )
        .unwrap();
        assert!(
            told.contains("No hook is on yet")
                && told.contains("trunkgate add app-rest-method -a shopKey"),
            "{told}"
        );
        assert!(told.contains("apps.toml"), "{told}");
        let apps = run(dir, &["show", "apps"]).unwrap();
        let rows: Vec<Vec<&str>> = apps
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0], ["NAME", "APPKEY", "URL", "OWNER"]);
        assert_eq!(rows[1], ["defaultApp", "defaultApp", "-"]);
        assert_eq!(rows[4], ["shop", "shopKey", "http://backend/hooks", "ann"]);
        run(
            dir,
            &[
                "update",
                "app",
                "-k",
                "newKey",
                "-l",
                "https://backend",
                "-o",
                "bob",
                "shop",
            ],
        )
        .unwrap();
        let app = run(dir, &["show", "app", "shop"]).unwrap();
        for part in ["newKey", "https://backend", "bob", "user", "set, not shown"] {
            assert!(app.contains(part), "{part}: {app}");
        }
        assert!(!app.contains("geheim"), "{app}");
        assert!(run(dir, &["show", "apps", "-d"]).unwrap().contains(&app));
        run(dir, &["remove", "app", "shop"]).unwrap();
        assert!(run(dir, &["show", "app", "shop"]).is_err());
    }

    #[test]
    fn hooks_are_turned_on_and_off_by_app_key_one_or_all() {
        let dir = test_dir();
        let dir = dir.path();
        run(dir, &["add", "app", "shop", "shopKey", "http://backend"]).unwrap();
        assert!(
            run(dir, &["show", "app-rest-methods", "shopKey"])
                .unwrap()
                .contains("No hook of shop is on")
        );
        run(dir, &["add", "app-rest-method", "shopKey", "connect"]).unwrap();
        run(dir, &["add", "app-rest-method", "shopKey", "sendDTMF"]).unwrap();
        assert_eq!(
            run(dir, &["show", "app-rest-methods", "shopKey"]).unwrap(),
            "connect\nsendDtmf\n"
        );
        let again = run(dir, &["add", "app-rest-method", "shopKey", "connect"]).unwrap();
        assert!(again.contains("was on already"), "{again}");
        let all = run(dir, &["add", "app-rest-method", "-a", "shopKey"]).unwrap();
        assert!(all.contains("OnDtmfEvent"), "{all}");
        run(dir, &["add", "app-rest-method", "shopKey", "OnDtmfEvent"]).unwrap();
        run(
            dir,
            &["remove", "app-rest-method", "shopKey", "sendBugReport"],
        )
        .unwrap();
        let on = run(dir, &["show", "app-rest-methods", "shopKey"]).unwrap();
        let every = run(dir, &["show", "rest-methods"]).unwrap();
        assert_eq!(on.lines().count() + 1, every.lines().count());
        assert!(on.contains("OnDtmfEvent") && !on.contains("submitBugReport"));
        run(dir, &["remove", "app-rest-method", "-a", "shopKey"]).unwrap();
        assert!(
            run(dir, &["show", "app-rest-methods", "shopKey"])
                .unwrap()
                .contains("No hook")
        );
        let without = run(dir, &["add", "app-rest-method", "-a", "defaultApp"]).unwrap();
        assert!(
            without.contains("trunkgate update app -l URL defaultApp"),
            "{without}"
        );
    }

    #[test]
    fn the_same_commands_begin_with_app_too() {
        let dir = test_dir();
        let dir = dir.path();
        run(dir, &["app", "add", "shop", "shopKey", "http://backend"]).unwrap();
        run(dir, &["app", "update", "-o", "ann", "shop"]).unwrap();
        assert!(run(dir, &["app", "show", "shop"]).unwrap().contains("ann"));
        assert_eq!(run(dir, &["app", "list"]), run(dir, &["show", "apps"]));
        run(dir, &["app", "remove", "shop"]).unwrap();
    }

    #[test]
    fn our_own_options_are_kept_and_taken_away() {
        let dir = test_dir();
        let dir = dir.path();
        let (secret, policies) = (dir.join("secret"), dir.join("policies.json"));
        std::fs::write(&secret, "geheim\n").unwrap();
        std::fs::write(&policies, r#"{"call":{"restOnError":"FAIL"}}"#).unwrap();
        let (secret, policies) = (secret.to_str().unwrap(), policies.to_str().unwrap());
        run(
            dir,
            &[
                "add",
                "app",
                "shop",
                "shopKey",
                "",
                "--origin",
                "https://a.example",
                "--origin",
                "https://b.example",
                "--hook-secret-file",
                secret,
                "--password-over-http",
                "yes",
                "--sip-message-raw",
                "status-line",
                "--max-sessions",
                "7",
                "--connections-per-second",
                "8",
                "--messages-per-second",
                "9",
                "--rest-client-config",
                policies,
            ],
        )
        .unwrap();
        let app = run(dir, &["show", "app", "shop"]).unwrap();
        for part in [
            "https://a.example, https://b.example",
            "restOnError",
            "status-line",
            " 7\n",
            " 8\n",
            " 9\n",
            "it has no backend",
        ] {
            assert!(app.contains(part), "{part}: {app}");
        }
        assert!(app.contains("hook secret           set"), "{app}");
        std::fs::write(dir.join("empty"), "").unwrap();
        let empty = dir.join("empty");
        let empty = empty.to_str().unwrap();
        run(
            dir,
            &[
                "update",
                "app",
                "shop",
                "--origin",
                "",
                "--hook-secret",
                "",
                "--password-over-http",
                "no",
                "--sip-message-raw",
                "default",
                "--max-sessions",
                "0",
                "--rest-client-config",
                empty,
            ],
        )
        .unwrap();
        let app = run(dir, &["show", "app", "shop"]).unwrap();
        assert!(app.contains("hook secret           not set"), "{app}");
        assert!(app.contains("origins               any"), "{app}");
    }

    #[test]
    fn a_data_dir_that_is_not_there_is_told_instead_of_what_it_might_hold() {
        let dir = test_dir();
        let told = run(&dir.path().join("elsewhere"), &["show", "apps"]).unwrap_err();
        assert!(
            told.contains("elsewhere (data_dir)") && told.contains("--config"),
            "{told}"
        );
        assert!(run(&dir.path().join("elsewhere"), &["show", "rest-methods"]).is_ok());
    }

    #[test]
    fn an_application_from_the_start_is_removed_by_who_insists() {
        let dir = test_dir();
        run(dir.path(), &["app", "remove", "defaultApp", "--yes"]).unwrap();
        assert!(run(dir.path(), &["show", "app", "defaultApp"]).is_err());
    }

    #[test]
    fn what_cannot_be_done_is_told_in_a_sentence_and_changes_nothing() {
        let dir = test_dir();
        let dir = dir.path();
        for (line, wanted) in [
            (
                &["add", "app", "a", "a", "http://u:geheim@b/"][..],
                "with -u and -p",
            ),
            (
                &["add", "app", "a", "defaultApp", ""],
                "application defaultApp already",
            ),
            (&["add", "app-rest-method", "defaultApp"], "-a for all"),
            (
                &["add", "app-rest-method", "-a", "defaultApp", "call"],
                "either",
            ),
            (
                &["add", "app-rest-method", "defaultApp", "CONNECT"],
                "did you mean connect?",
            ),
            (
                &["add", "app-rest-method", "defaultApp", "fly"],
                "show rest-methods",
            ),
            (&["remove", "app", "nobody"], "show apps"),
            (&["remove", "app", "defaultApp"], "defaultApp --yes"),
            (&["update", "app", "defaultApp"], "Nothing is given"),
            (&["update", "app", "-p", "geheim", "defaultApp"], "-u"),
            (
                &["add", "app", "a", "a", "", "--hook-secret-file", "/nowhere"],
                "/nowhere cannot be read",
            ),
        ] {
            match run(dir, line) {
                Err(told) => assert!(told.contains(wanted) && !told.contains("geheim"), "{told}"),
                Ok(told) => panic!("{line:?}: {told}"),
            }
        }
        assert!(!dir.join("apps.toml").exists());
    }
}
