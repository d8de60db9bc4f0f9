use super::*;
use crate::files::{TestDir, test_dir};

fn around() -> Surroundings {
    Surroundings {
        variables: Vec::new(),
        interfaces: [
            ("192.0.2.10", 24),
            ("127.0.0.1", 8),
            ("2001:db8::10", 64),
            ("::1", 128),
        ]
        .map(|(ip, prefix)| (ip.parse().unwrap(), prefix))
        .to_vec(),
        ipv6: true,
        cores: 4,
        root: false,
        secrets_elsewhere: false,
    }
}

fn set(arguments: &[&str]) -> Result<Config, Vec<String>> {
    let set = arguments
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
    Config::load(
        &Arguments {
            set,
            ..Arguments::default()
        },
        &around(),
    )
}

fn file(text: &str) -> (TestDir, Arguments) {
    let dir = test_dir();
    let path = dir.path().join("trunkgate.toml");
    std::fs::write(&path, text).unwrap();
    (
        dir,
        Arguments {
            file: Some(path),
            ..Arguments::default()
        },
    )
}

fn complaints(result: Result<Config, Vec<String>>) -> Vec<String> {
    result.expect_err("complaints")
}

#[test]
fn everything_has_a_default_that_works() {
    let config = set(&[]).unwrap();
    assert_eq!(
        config.signaling.ws,
        Some(Listen {
            ip: None,
            port: 8080
        })
    );
    assert_eq!(config.media.workers, 4);
    assert_eq!(config.media.webrtc.addresses, around().addresses());
    assert_eq!(config.link.dir, Path::new("data/link"));
    assert_eq!(config.roles.len(), 3);
}

#[test]
fn the_annotated_file_names_every_key_and_has_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/trunkgate.toml");
    let arguments = Arguments {
        file: Some(path.clone()),
        ..Arguments::default()
    };
    let (config, known) = Config::load_and_name(&arguments, &around()).unwrap();
    assert_eq!(config, set(&[]).unwrap());

    let mut settings = source::Settings::new();
    source::add_file(
        &mut settings,
        &path,
        &std::fs::read_to_string(&path).unwrap(),
        &mut Vec::new(),
    );
    let shown: Vec<&str> = settings.keys().map(String::as_str).collect();
    assert_eq!(shown, known);
}

/// The annotated file with its examples turned on.
fn with_examples() -> (TestDir, Arguments, Surroundings) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/trunkgate.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with([' ', '#']) => example,
        _ => line,
    });
    let text: Vec<&str> = lines.collect();
    let (dir, arguments) = file(&text.join("\n"));
    let mut around = around();
    around
        .variables
        .push(("CARRIER_PASSWORD".into(), "geheim".into()));
    (dir, arguments, around)
}

#[test]
fn the_annotated_files_examples_are_right_and_name_every_key_of_their_sections() {
    let (_dir, arguments, around) = with_examples();
    let (config, known) = Config::load_and_name(&arguments, &around).unwrap();
    assert_eq!(config.dial.trunks[0].spec.password, "geheim");
    let mut settings = source::Settings::new();
    let path = arguments.file.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    source::add_file(&mut settings, &path, &text, &mut Vec::new());
    // Every key is shown by one of its section's examples, not by all.
    let bare = |name: &str| {
        let numbers: &[char] = &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
        name.replace(numbers, "")
    };
    let shown: BTreeSet<String> = settings.keys().map(|name| bare(name)).collect();
    let known: BTreeSet<String> = known.iter().map(|name| bare(name)).collect();
    assert_eq!(shown, known);
}

#[test]
fn the_complete_examples_are_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    for (name, trunks, rules) in [("carrier.toml", 1, 4), ("office.toml", 1, 4)] {
        let arguments = Arguments {
            file: Some(examples.join(name)),
            ..Arguments::default()
        };
        let mut around = around();
        let password = ("CARRIER_PASSWORD".into(), "geheim".into());
        around.variables.push(password);
        let config = Config::load(&arguments, &around).unwrap();
        let dial = (config.dial.trunks.len(), config.dial.plan.rules.len());
        assert_eq!(dial, (trunks, rules), "{name}");
    }
}

#[test]
fn every_wrong_entry_of_the_plan_is_told_with_file_and_line() {
    let text = "[numbers]\ncountry = \"Germany\"\n";
    let (_dir, arguments) = file(text);
    let told = complaints(Config::load(&arguments, &around()));
    assert!(
        told[0].contains("numbers.country = \"Germany\" is not up to 3 digits"),
        "{told:?}"
    );

    let text = r#"[trunk.carrier]
mode = "register"
servers = ["sip.carrier.example"]
login = "me"
pasword = "geheim"
[[route]]
name = "all"
match = ["+49*", "12a*"]
to = ["trunk:carier", "trunk:carrier"]
[[route]]
match = "*"
from = "everybody"
weights = { carrier = 1, backup = 2 }
ring = 1
[[inbound]]
to = "fax"
[[limits.rule]]
scope = "account"
[[limits.rule]]
scope = "prefix"
[emergency]
numbers = ["112"]
"#;
    let (_dir, arguments) = file(text);
    let told = complaints(Config::load(&arguments, &around()));
    let path = arguments.file.unwrap().display().to_string();
    for wanted in [
        format!(
            "trunk.carrier ({path} line 2) registers, so it needs a password (\"file:/path\" and \"env:NAME\" keep it out of this file)."
        ),
        format!(
            "trunk.carrier.pasword ({path} line 5) is no setting; did you mean trunk.carrier.password?"
        ),
        format!(
            "route[1].match has an entry \"12a*\" that is neither digits with X and a * at the end nor a whole name ({path} line 8)."
        ),
        format!(
            "route[1].to has an entry \"trunk:carier\" that names no trunk of ours; did you mean carrier? ({path} line 9)."
        ),
        format!(
            "route[2].weights.backup ({path} line 13) names no trunk of ours: there is no [trunk.backup]."
        ),
        format!("route[2].ring = 1 is not a whole number from 5 to 600 seconds ({path} line 14)."),
        format!(
            "inbound[1] ({path} line 16) needs a trunk: trunk = \"carrier\", or \"*\" for all."
        ),
        format!(
            "limits.rule[1] ({path} line 18) limits nothing: calls_per_second, calls or minutes_per_day."
        ),
        format!(
            "limits.rule[2] ({path} line 20) must name the beginning of numbers: match = \"+49\"."
        ),
        format!("emergency.numbers ({path} line 22) lead nowhere without emergency.trunks."),
    ] {
        assert!(told.contains(&wanted), "{wanted}\nis not in\n{told:#?}");
    }
    assert!(
        told.iter()
            .any(|told| told.starts_with("route[2].from has an entry")),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|told| told.starts_with("inbound[1].to has an entry")),
        "{told:#?}"
    );
    assert!(!told.concat().contains("geheim"));
}

#[test]
fn a_trunks_secret_is_the_text_a_files_or_the_environments_and_is_never_shown() {
    let (dir, mut arguments) = file(
        "[trunk.a]\nmode = \"register\"\nservers = \"h\"\nlogin = \"l\"\npassword = \"geheim1\"\n\
         [trunk.b]\nmode = \"register\"\nservers = \"h\"\nlogin = \"l\"\npassword = \"env:OF_B\"\n\
         [trunk.c]\nmode = \"register\"\nservers = \"h\"\nlogin = \"l\"\n\
         [trunk.d]\nmode = \"register\"\nservers = \"h\"\nlogin = \"l\"\n",
    );
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "geheim3\n").unwrap();
    arguments.set = vec![format!("trunk.c.password=file:{}", secret.display())];
    let mut around = around();
    around.variables = vec![
        ("OF_B".into(), "geheim2".into()),
        ("TRUNKGATE_TRUNK__D__PASSWORD".into(), "geheim4".into()),
    ];
    let config = Config::load(&arguments, &around).unwrap();
    let secrets = config
        .dial
        .trunks
        .iter()
        .map(|trunk| trunk.spec.password.as_str());
    assert_eq!(
        secrets.collect::<Vec<_>>(),
        ["geheim1", "geheim2", "geheim3", "geheim4"]
    );
    assert!(!format!("{config:?}").contains("geheim"));

    around.variables.clear();
    std::fs::write(&secret, "geheim3\ngeheim5\n").unwrap();
    let told = complaints(Config::load(&arguments, &around));
    let text = told.concat();
    assert!(
        text.contains("environment variable OF_B, which is not set"),
        "{told:#?}"
    );
    assert!(text.contains("holds more than one line"), "{told:#?}");
    assert!(!text.contains("geheim"), "{told:#?}");
}

#[test]
fn the_environment_overrules_the_file_and_set_overrules_both() {
    let (_dir, mut arguments) =
        file("[media]\nworkers = 1\n[link]\ngrace = 1\n[calls]\nmax_echo_calls = 1\n");
    let mut around = around();
    around.variables = vec![
        ("TRUNKGATE_LINK__GRACE".into(), "2".into()),
        ("TRUNKGATE_CALLS__MAX_ECHO_CALLS".into(), "2".into()),
        ("HOME".into(), "/".into()),
    ];
    arguments.set = vec!["calls.max_echo_calls=3".into()];
    let config = Config::load(&arguments, &around).unwrap();
    assert_eq!(config.media.workers, 1);
    assert_eq!(config.link.grace, Duration::from_secs(2));
    assert_eq!(config.calls.max_echo_calls, 3);
}

#[test]
fn what_kubernetes_tells_of_a_service_of_our_name_is_no_setting() {
    let mut around = around();
    for variable in [
        "TRUNKGATE_SERVICE_HOST",
        "TRUNKGATE_SERVICE_PORT_WS",
        "TRUNKGATE_PORT",
        "TRUNKGATE_PORT_8080_TCP_ADDR",
    ] {
        around
            .variables
            .push((variable.into(), "tcp://10.0.0.1:8080".into()));
    }
    assert!(Config::load(&Arguments::default(), &around).is_ok());
    around
        .variables
        .push(("TRUNKGATE_SIGNALLING__WS".into(), ":80".into()));
    let told = complaints(Config::load(&Arguments::default(), &around));
    assert!(told[0].contains("did you mean signaling.ws?"), "{told:?}");
}

#[test]
fn what_is_not_toml_is_a_text() {
    let config = set(&[
        "signaling.ws=127.0.0.1:0",
        "calls.codec_policy=opus",
        "sip.listen=[\"udp:127.0.0.1:5070;announce=192.0.2.1:5060\", \"tcp:[::1]:0\", \"tls:[::1]:0;name=carrier-a\"]",
        "media.address=127.0.0.1",
        "media.rtp.ports=30000-30099",
        "admin.token=0123456789",
        "link={grace=5}",
        "media.webrtc.port=\"12000\"",
    ])
    .unwrap();
    assert_eq!(config.signaling.ws.unwrap().to_string(), "127.0.0.1:0");
    assert_eq!(config.calls.codec_policy, CodecPolicy::Opus);
    assert_eq!(config.sip.listen[0].announce.unwrap().port, Some(5060));
    assert_eq!(config.sip.listen[1].transport, SipTransport::Tcp);
    assert_eq!(config.sip.listen[2].transport, SipTransport::Tls);
    assert_eq!(config.sip.listen[2].name, "carrier-a");
    assert_eq!(
        config.media.rtp.addresses,
        ["127.0.0.1".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(config.media.rtp_ports, 30000..=30099);
    assert_eq!(config.admin.token.as_ref().unwrap().reveal(), "0123456789");
    assert_eq!(config.link.grace, Duration::from_secs(5));
    assert_eq!(config.media.webrtc_port, 12000);
}

#[test]
fn every_wrong_setting_is_told_at_once_with_its_place() {
    let (_dir, mut arguments) = file(
        "[signaling]\nws = \"nowhere\"\n\n[media]\nwebrtc = { port = 70000 }\nadress = \"auto\"\n",
    );
    let mut around = around();
    around.variables = vec![("TRUNKGATE_CALLS__CODEC_POLICY".into(), "mp3".into())];
    arguments.set = vec![
        "link.grace=soon".into(),
        "sip.listen=tls:0.0.0.0:5061;name=a b".into(),
    ];
    let complaints = complaints(Config::load(&arguments, &around));
    let path = arguments.file.unwrap().display().to_string();
    for wanted in [
        format!("signaling.ws = \"nowhere\" is not ADDR:PORT ([ADDR]:PORT for IPv6, :PORT for all addresses) ({path} line 2)."),
        format!("media.webrtc.port = 70000 is not a whole number from 0 to 65535 ({path} line 5)."),
        format!("media.adress ({path} line 6) is no setting; did you mean media.address?"),
        "calls.codec_policy = mp3 is neither \"relay\" nor \"opus\" (environment variable TRUNKGATE_CALLS__CODEC_POLICY).".into(),
        "link.grace = soon is not a whole number from 0 to 3600 seconds (--set).".into(),
        "sip.listen has an entry \"tls:0.0.0.0:5061;name=a b\" that has a name= with more than letters, digits, - and _ (--set).".into(),
    ] {
        assert!(complaints.contains(&wanted), "{wanted}\nis not in\n{complaints:#?}");
    }
    assert_eq!(complaints.len(), 6, "{complaints:#?}");
}

#[test]
fn how_sip_calls_are_kept_and_led_can_be_set() {
    let config = set(&[
        "sip.session_expires=0",
        "sip.min_se=120",
        "sip.reliable_provisional=always",
        "sip.redirect=refuse",
        "sip.max_calls_per_second=50",
        "sip.max_calls=200",
    ])
    .unwrap();
    assert_eq!((config.sip.session_expires, config.sip.min_se), (0, 120));
    assert_eq!(config.sip.reliable_provisional, ReliableProvisional::Always);
    assert_eq!(config.sip.redirect, Redirect::Refuse);
    let most = (config.sip.max_calls_per_second, config.sip.max_calls);
    assert_eq!(most, (50, 200));
    let told = complaints(set(&[
        "sip.min_se=89",
        "sip.reliable_provisional=never",
        "sip.redirect=302",
    ]));
    assert_eq!(told.len(), 3, "{told:?}");
    let told = complaints(set(&["sip.min_se=3600"]));
    assert_eq!(
        told,
        [
            "sip.session_expires = 1800 (the default) must be 0 or at least sip.min_se = 3600 (--set)."
        ]
    );
}

#[test]
fn a_secret_is_neither_in_complaints_nor_in_debug() {
    let told = complaints(set(&["admin.token=sesam öffne", "nonsense with sesam"]));
    assert_eq!(told.len(), 2);
    assert!(!told.concat().contains("sesam"), "{told:?}");
    let config = set(&["admin.token=sesam"]).unwrap();
    assert!(!format!("{config:?}").contains("sesam"));
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one() {
    for (wrong, right) in [
        ("signaling.wsss", "signaling.wss"),
        ("sip.allowed-targets", "sip.allowed_targets"),
        ("rtp.ports", "media.rtp.ports"),
        ("datadir", "data_dir"),
    ] {
        let told = complaints(set(&[&format!("{wrong}=1")]));
        assert!(
            told[0].ends_with(&format!("did you mean {right}?")),
            "{told:?}"
        );
    }
    let told = complaints(set(&["zebra.stripes=1"]));
    assert!(!told[0].contains("did you mean"), "{told:?}");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let (_dir, arguments) = file("[signaling]\nws = \":8080\n");
    let told = complaints(Config::load(&arguments, &around()));
    assert!(told[0].contains("line 2 is not TOML"), "{told:?}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let arguments = Arguments {
        file: Some("/nowhere/trunkgate.toml".into()),
        ..Arguments::default()
    };
    let told = complaints(Config::load(&arguments, &around()));
    assert!(
        told[0].starts_with("--config: /nowhere/trunkgate.toml cannot be read"),
        "{told:?}"
    );
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    for (settings, wanted) in [
        (
            vec!["signaling.certificate=/c.pem"],
            "without signaling.key",
        ),
        (
            vec!["signaling.ws=:1", "signaling.wss=:1"],
            "cannot both be :1",
        ),
        (
            vec!["media.rtp.ports=9000-10000"],
            "overlap media.webrtc.port",
        ),
        (vec!["media.webrtc.port=65534"], "no room"),
        (vec!["media.rtp.ports=20000-20000"], "at least one pair"),
        (vec!["link.peers=media=10.0.0.1:7000"], "is played here"),
        (vec!["media.address=0.0.0.0"], "\"auto\" takes them all"),
    ] {
        let told = complaints(set(&settings));
        assert!(
            told.len() == 1 && told[0].contains(wanted),
            "{settings:?}: {told:?}"
        );
    }
}

#[test]
fn roles_apart_must_be_able_to_find_each_other() {
    let with = |roles: &[Role], set: &[&str]| {
        let arguments = Arguments {
            roles: roles.to_vec(),
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            ..Arguments::default()
        };
        Config::load(&arguments, &around())
    };
    assert!(complaints(with(&[Role::Media], &[]))[0].starts_with("link.listen must be set"));
    assert!(with(&[Role::Media], &["link.listen=10.0.0.7:7000"]).is_ok());
    let told = complaints(with(&[Role::Signaling, Role::Trunk], &[]));
    assert!(told[0].contains("media=ADDR:PORT"), "{told:?}");
    assert!(
        with(
            &[Role::Signaling, Role::Trunk],
            &["link.peers=media=10.0.0.7:7000"]
        )
        .is_ok()
    );
}

#[test]
fn targets_are_addresses_networks_and_names_with_a_port_if_wanted() {
    for right in [
        "203.0.113.7",
        "203.0.113.7:5080",
        "203.0.113.0/24",
        "203.0.113.0/24:5060",
        "2001:db8::/32",
        "[2001:db8::1]:5060",
        "[2001:db8::]/32:5060",
        "sip.carrier.example",
        "pbx:5060",
    ] {
        assert_eq!(values::target(right).as_deref(), Ok(right));
    }
    for wrong in [
        "10.0.0.0/33",
        "10.0.0.1:",
        "10.0.0.1:0",
        "pbx/24",
        "",
        "[::1",
        "/8",
        "a b",
        "2001:db8::/32:5060",
        "300.1.1.1",
        "*",
    ] {
        assert!(values::target(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn announced_addresses_replace_bound_ones_of_their_family_but_not_loopback_beside_others() {
    let face = set(&["media.webrtc.announce=203.0.113.7"])
        .unwrap()
        .media
        .webrtc;
    let announced = |face: &Face, ip: &str| {
        face.announce_for(ip.parse().unwrap())
            .map(|a| (a.ip.to_string(), a.port))
    };
    assert_eq!(
        announced(&face, "192.0.2.10"),
        Some(("203.0.113.7".into(), None))
    );
    assert_eq!(announced(&face, "127.0.0.1"), None);
    assert_eq!(announced(&face, "2001:db8::10"), None);
    let face = set(&[
        "media.webrtc.bind=127.0.0.1",
        "media.webrtc.announce=203.0.113.7:99",
    ])
    .unwrap()
    .media
    .webrtc;
    assert_eq!(
        announced(&face, "127.0.0.1"),
        Some(("203.0.113.7".into(), Some(99)))
    );
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_written_panics_or_puts_a_line_break_into_a_complaint(
        key in "[a-z_.]{0,12}|signaling.ws|sip.listen|sip.allowed_targets|media|admin.token",
        value in "\\PC{0,40}|(?s).{0,40}",
    ) {
        let told = set(&[&format!("{key}={value}")]).err().unwrap_or_default();
        for complaint in told {
            proptest::prop_assert!(!complaint.contains('\n'), "{complaint:?}");
        }
    }
}

#[test]
fn a_lone_word_that_is_no_log_level_is_refused() {
    for right in ["debug", "OFF", "info,quinn=warn", "warn,media_relay=trace"] {
        let config = set(&[&format!("log.level=\"{right}\"")]).unwrap();
        assert_eq!(config.log_level, right);
    }
    for wrong in ["loud", "info,loud", "quinn=loud", "", "info,"] {
        let told = complaints(set(&[&format!("log.level=\"{wrong}\"")]));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("log.level = ") && told[0].contains("is not error, warn, info"),
            "{told:?}"
        );
    }
}

#[test]
fn flags_and_choices_of_calls_are_read_from_wherever_they_come() {
    let (_dir, arguments) = file(
        "[calls]\nfollow_refer = false\nbusy_as_failed = \"true\"\nhold_by_peer = \"silent\"\nringback = \"gb\"\n\
         page_headers = [\"Alert-Info\"]\nbridge_headers = [\"User-to-User\"]\n[signaling]\nclose_on_registration_failure = false\n",
    );
    let config = Config::load(&arguments, &around()).unwrap();
    assert!(!config.calls.follow_refer && config.calls.busy_as_failed);
    assert!(!config.calls.tell_hold_by_peer && !config.signaling.close_on_registration_failure);
    assert_eq!(config.calls.ringback, Ringback::Gb);
    assert_eq!(config.calls.page_headers, ["Alert-Info"]);
    assert_eq!(config.calls.bridge_headers, ["User-to-User"]);
    assert!(
        !set(&["calls.follow_refer=false"])
            .unwrap()
            .calls
            .follow_refer
    );
    let told = complaints(set(&[
        "calls.follow_refer=yes",
        "calls.ringback=de",
        "calls.page_headers=[\"Alert Info\"]",
    ]));
    assert_eq!(
        told,
        [
            "calls.ringback = de is none of \"off\", \"eu\", \"us\" and \"gb\" (--set).",
            "calls.follow_refer = yes is neither true nor false (--set).",
            "calls.page_headers has an entry \"Alert Info\" that is not the name of a SIP header field (--set).",
        ]
    );
}

#[test]
fn a_command_that_only_asks_does_without_the_gateways_secrets() {
    let mut around = Surroundings::default();
    let arguments = Arguments {
        set: vec![
            "trunk.carrier.mode=register".into(),
            "trunk.carrier.servers=[\"sip.carrier.example\"]".into(),
            "trunk.carrier.login=acme".into(),
            "trunk.carrier.password=env:OF_THE_SERVICE".into(),
        ],
        ..Arguments::default()
    };
    let complaints = Config::load(&arguments, &around).unwrap_err();
    assert!(complaints[0].contains("OF_THE_SERVICE"), "{complaints:?}");
    around.secrets_elsewhere = true;
    assert_eq!(
        Config::load(&arguments, &around).unwrap().dial.trunks.len(),
        1
    );
}

#[test]
fn how_numbers_are_dialled_may_be_wrong_without_the_rules_being_disowned() {
    let arguments = Arguments {
        set: vec![
            "numbers.country=0049".into(),
            "emergency.numbers=[\"112\"]".into(),
            "trunk.a.sources=[\"192.0.2.0/24\"]".into(),
            "emergency.trunks=[\"a\"]".into(),
        ],
        ..Arguments::default()
    };
    let complaints = Config::load(&arguments, &Surroundings::default()).unwrap_err();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].starts_with("numbers.country"),
        "{complaints:?}"
    );
}

#[test]
fn a_trunk_by_tls_needs_a_listener_to_go_out_by() {
    let trunk = "trunk.a.servers=[\"sip:sbc.example;transport=tls\"]";
    assert!(set(&[trunk]).is_ok());
    let complaints = set(&[trunk, "sip.listen=[\"udp::5060\"]"]).unwrap_err();
    assert!(
        complaints[0].contains("sip.listen has no tls:"),
        "{complaints:?}"
    );
}
