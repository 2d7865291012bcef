//! The real binary, started on free ports and stopped when the test is over.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod person;
pub mod raw;
pub mod token;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `parlour serve`.
pub struct Server {
    child: Child,
    /// HTTP and WebSockets.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// What it said first.
    pub first_line: String,
    lines: mpsc::Receiver<String>,
    /// What it wrote to stderr so far; shown too.
    said: Arc<Mutex<String>>,
}

/// How to start one.
pub struct Start {
    data: PathBuf,
    listen: String,
    grpc: String,
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Start {
    /// On free ports, with its journal in `data`.
    pub fn in_dir(data: &Path) -> Start {
        Start {
            data: data.to_owned(),
            listen: "127.0.0.1:0".into(),
            grpc: "127.0.0.1:0".into(),
            args: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// On the ports of a server that was stopped.
    pub fn at(mut self, http: SocketAddr, grpc: SocketAddr) -> Start {
        self.listen = http.to_string();
        self.grpc = grpc.to_string();
        self
    }

    /// With a setting.
    pub fn set(mut self, name: &str, value: impl ToString) -> Start {
        self.args.push("--set".into());
        self.args.push(format!("{name}={}", value.to_string()));
        self
    }

    /// With a flag.
    pub fn flag(mut self, flag: &str) -> Start {
        self.args.push(flag.into());
        self
    }

    /// With a variable.
    pub fn env(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command that would start it.
    pub fn command(&self) -> Command {
        let mut command = parlour();
        command
            .arg("serve")
            .args(["--listen", &self.listen, "--grpc", &self.grpc, "--log", "warn"])
            .arg("--data")
            .arg(&self.data)
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it listens.
    pub fn start(&self) -> Server {
        Start::start_command(self.command())
    }

    /// Starts a command that becomes a server.
    pub fn start_command(mut command: Command) -> Server {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = Arc::<Mutex<String>>::default();
        let stderr = child.stderr.take().expect("piped");
        std::thread::spawn({
            let said = Arc::clone(&said);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    eprintln!("{line}");
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let first = lines.recv_timeout(PATIENCE).expect("the first line says where it listens");
        let (http, grpc) = addresses(&first);
        Server { child, http, grpc, first_line: first, lines, said }
    }

    /// Starts it and waits until it ends by itself.
    pub fn run(&self) -> Output {
        self.command().stdin(Stdio::null()).output().expect("the binary starts")
    }
}

/// The program.
pub fn parlour() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlour"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PARLOUR_")) {
        command.env_remove(name);
    }
    command
}

/// "Parlour is listening: WebSocket on ws://ADDR/v1/ws, gRPC on ADDR".
fn addresses(line: &str) -> (SocketAddr, SocketAddr) {
    let http = line.split("ws://").nth(1).and_then(|rest| rest.split('/').next());
    let grpc = line.rsplit(' ').next();
    let parse = |text: Option<&str>| {
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    };
    (parse(http), parse(grpc))
}

impl Server {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `ws://…/v1/ws`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/v1/ws", self.http)
    }

    /// `grpc://…`.
    pub fn grpc_url(&self) -> String {
        format!("grpc://{}", self.grpc)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and waits for the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill is there");
        assert!(sent.success(), "the process runs");
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("it can be waited for") {
                Some(status) => return status.code(),
                None if Instant::now() > deadline => panic!("the server did not end"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// What it wrote to stderr so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        http_get(self.http, path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A server that panicked fails the test, whatever else it was about.
        let said = self.said();
        if !std::thread::panicking() {
            assert!(!said.contains("panicked at"), "the server panicked:\n{said}");
        }
    }
}

/// A GET without a library: what is tested is the server's side.
pub fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    use std::io::Write;
    let mut socket = std::net::TcpStream::connect(address).expect("connects");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(socket, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
        .expect("writes");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer in UTF-8");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}
