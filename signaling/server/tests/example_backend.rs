//! The example of a backend that comes with the program, asked by the program's own client.

use signaling_backend::{App, HookOutcome, Request, RequestId};
use signaling_calls::SessionId;
use signaling_protocol::{HookMethod, Secret};
use signaling_server::hooks::{Settings, hooks};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Backend {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Backend {
    fn start(arguments: &[&str]) -> Backend {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/backend.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut backend = Backend {
            child,
            out,
            url: String::new(),
        };
        let line = backend.line();
        backend.url = line.strip_prefix("listening ").expect(&line).to_owned();
        backend
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn app(&self, secret: &str) -> App {
        App {
            name: "clickToCallApp".into(),
            key: "clickToCallApp".into(),
            url: self.url.clone(),
            owner: String::new(),
            rest_user: String::new(),
            rest_password: None,
            methods: Default::default(),
            rest_client_config: Default::default(),
            origins: Vec::new(),
            password_over_http: false,
            hook_secret: Some(Secret::new(secret)),
            sip_message_raw: None,
            line: None,
            max_sessions: 0,
            connections_per_second: 0,
            messages_per_second: 0,
        }
    }
}

async fn ask(app: &App, method: HookMethod, body: &str) -> HookOutcome {
    let (hooks, mut answers) = hooks(Settings::default());
    let request = Request {
        id: RequestId(1),
        session: SessionId(1),
        method,
        app: Arc::new(app.clone()),
        body: body.to_owned(),
        with_password: body.contains("sipPassword"),
        awaited: true,
    };
    assert_eq!(hooks.post(request), []);
    tokio::time::timeout(Duration::from_secs(20), answers.next())
        .await
        .expect("an answer")
        .unwrap()
        .1
}

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const CONNECT: &str =
    r#"{"nodeId":"n","appKey":"clickToCallApp","sessionId":"s","sipPassword":"geheim"}"#;

#[tokio::test]
async fn the_example_checks_both_signatures_gives_an_account_and_refuses_what_it_is_told_to() {
    let secret = File::new("secret", "a hook secret\n");
    let password = File::new("account-password", "pw:word\n");
    let policies = File::new("policies", r#"{"call":{"restOnError":"FAIL"}}"#);
    let mut backend = Backend::start(&[
        "--secret-file",
        secret.path(),
        "--account",
        "1001@pbx.example:5070",
        "--account-password-file",
        password.path(),
        "--refuse",
        "call=402:No money",
        "--answer",
        r#"transfer={"target":"2002"}"#,
        "--policies",
        policies.path(),
    ]);
    let app = backend.app("a hook secret");

    let HookOutcome::Accepted { body } = ask(&app, HookMethod::Connect, CONNECT).await else {
        panic!("connect is refused: {}", backend.line());
    };
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["sipLogin"], "1001");
    assert_eq!(answer["sipPassword"], "pw:word");
    assert_eq!(
        (&answer["sipDomain"], &answer["sipPort"]),
        (&"pbx.example".into(), &5070.into())
    );
    assert_eq!(answer["restClientConfig"]["call"]["restOnError"], "FAIL");
    let line = backend.line();
    assert!(
        line.starts_with("connect (") && !line.contains("geheim"),
        "{line}"
    );

    let refused = ask(&app, HookMethod::Call, r#"{"callId":"1"}"#).await;
    let body = r#"{"status": 402, "reason": "No money"}"#.to_owned();
    assert_eq!(
        refused,
        HookOutcome::Refused {
            status: 402,
            reason: "No money".into(),
            body
        }
    );
    assert!(backend.line().contains("-> 402 No money"));
    let answered = ask(&app, HookMethod::Transfer, "{}").await;
    assert_eq!(
        answered,
        HookOutcome::Accepted {
            body: r#"{"target": "2002"}"#.into()
        }
    );
    backend.line();

    let forged = ask(&backend.app("another secret"), HookMethod::Hangup, "{}").await;
    assert!(
        matches!(forged, HookOutcome::Refused { status: 401, .. }),
        "{forged:?}"
    );
    assert!(backend.line().starts_with("! hangup: wrong WCS signature"));
}

#[tokio::test]
async fn the_example_knows_every_hook() {
    let mut backend = Backend::start(&[]);
    let app = backend.app("unused");
    for method in HookMethod::ALL {
        let outcome = ask(&app, *method, r#"{"nodeId":"n"}"#).await;
        assert_eq!(
            outcome,
            HookOutcome::Accepted { body: "{}".into() },
            "{method}"
        );
        assert!(backend.line().starts_with(&format!("{method} (")));
    }
}

#[tokio::test]
async fn the_example_takes_http_basic_and_our_signature_beside_it() {
    let (secret, password) = (
        File::new("basic-secret", "s3\n"),
        File::new("password", "pass\n"),
    );
    let backend = Backend::start(&[
        "--secret-file",
        secret.path(),
        "--user",
        "user",
        "--password-file",
        password.path(),
    ]);
    let mut app = backend.app("s3");
    app.rest_user = "user".into();
    app.rest_password = Some(Secret::new("pass"));
    assert!(matches!(
        ask(&app, HookMethod::Hold, "{}").await,
        HookOutcome::Accepted { .. }
    ));
    app.rest_password = Some(Secret::new("wrong"));
    assert!(matches!(
        ask(&app, HookMethod::Hold, "{}").await,
        HookOutcome::Refused { status: 401, .. }
    ));
}
