//! README's transcripts, word for word: each command is run, and must answer what stands there.
//!
//! Between `<!-- tour -->` and `<!-- /tour -->` a server runs; behind `<!-- tour stopped -->` none does, but
//! for those that the transcript starts itself. In a ```console block, `$ ` begins a command and `> ` is
//! typed into it; in what it answers `…` stands for any text of a line, and a line of `…` alone for any
//! number of lines.

mod support;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use support::{PATIENCE, Server, Start};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/bin");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
/// Where a server listens in the README.
const HTTP: &str = "127.0.0.1:8080";
const GRPC: &str = "127.0.0.1:9090";

/// A command and what happens then.
#[derive(Clone, Debug)]
struct Scene {
    line: usize,
    command: String,
    then: Vec<Then>,
}

#[derive(Clone, Debug)]
enum Then {
    Typed(String),
    Answered(String),
}

impl Scene {
    fn is_typed_into(&self) -> bool {
        self.then.iter().any(|then| matches!(then, Then::Typed(_)))
    }

    fn answers(&self) -> Vec<&str> {
        let answers = self.then.iter().filter_map(|then| match then {
            Then::Answered(line) => Some(line.as_str()),
            Then::Typed(_) => None,
        });
        answers.collect()
    }
}

/// A part of the README that is run.
struct Part {
    is_served: bool,
    scenes: Vec<Scene>,
}

fn parts(readme: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut open, mut console) = (false, false);
    for (number, line) in (1..).zip(readme.lines()) {
        match line {
            "<!-- tour -->" | "<!-- tour stopped -->" => {
                assert!(!open, "README.md:{number}: a tour inside a tour");
                open = true;
                parts.push(Part { is_served: line == "<!-- tour -->", scenes: Vec::new() });
            }
            "<!-- /tour -->" => open = false,
            "```console" => {
                assert!(
                    open,
                    "README.md:{number}: a transcript that nobody checks; put it into a tour"
                );
                console = true;
            }
            "```" => console = false,
            line if console => {
                let scenes = &mut parts.last_mut().expect("a tour is open").scenes;
                if let Some(command) = line.strip_prefix("$ ") {
                    scenes.push(Scene {
                        line: number,
                        command: command.to_owned(),
                        then: Vec::new(),
                    });
                    continue;
                }
                let scene =
                    scenes.last_mut().unwrap_or_else(|| panic!("README.md:{number}: no command"));
                scene.then.push(match line.strip_prefix("> ") {
                    Some(typed) => Then::Typed(typed.to_owned()),
                    None => Then::Answered(line.to_owned()),
                });
            }
            _ => {}
        }
    }
    parts
}

/// The folder in which the tour is taken, with the repository's examples in it.
struct Stage {
    dir: tempfile::TempDir,
    path: String,
    server: Option<Server>,
}

impl Stage {
    fn new() -> Stage {
        let tools = Path::new(TOOLS);
        for tool in ["grpcurl", "python3"] {
            assert!(
                tools.join(tool).exists(),
                "{tool} is not in target/tools/bin: run `make tools` first"
            );
        }
        let websockets =
            Command::new(tools.join("python3")).args(["-c", "import websockets"]).status();
        assert!(
            websockets.is_ok_and(|status| status.success()),
            "target/tools/bin/python3 has no `websockets`: run `make tools` again"
        );
        let bin = PathBuf::from(env!("CARGO_BIN_EXE_parlour"));
        let bin = bin.parent().expect("it lies in a folder").display();
        let rest = std::env::var("PATH").unwrap_or_default();
        let dir = tempfile::tempdir().expect("a folder");
        Stage { dir, path: format!("{TOOLS}:{bin}:{rest}"), server: None }
    }

    /// From here on this server is meant by the README's addresses, in examples too.
    fn set(&mut self, server: Server) {
        let examples = self.dir.path().join("examples");
        fs::create_dir_all(&examples).expect("a folder");
        for file in fs::read_dir(EXAMPLES).expect("the examples are there").flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            fs::write(examples.join(file.file_name()), placed(&text, &server)).expect("written");
        }
        self.server = Some(server);
    }

    fn start(&mut self, flags: &str) {
        let mut start = Start::in_dir(&self.dir.path().join("parlour-data"));
        for flag in flags.split_whitespace() {
            start = start.flag(flag);
        }
        let mut command = start.command();
        command.current_dir(self.dir.path());
        self.set(Start::start_command(command));
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            assert_eq!(server.terminate(), Some(0));
        }
    }

    /// The text with the addresses of the server that runs.
    fn placed(&self, text: &str) -> String {
        self.server.as_ref().map_or_else(|| text.to_owned(), |server| placed(text, server))
    }

    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PARLOUR_")) {
            shell.env_remove(name);
        }
        shell
            .arg("-c")
            .arg(format!("{{ {command}\n}} 2>&1"))
            .env("PATH", &self.path)
            .current_dir(self.dir.path())
            .stdout(Stdio::piped());
        shell
    }
}

fn placed(text: &str, server: &Server) -> String {
    text.replace(HTTP, &server.http.to_string()).replace(GRPC, &server.grpc.to_string())
}

#[test]
fn every_transcript_of_the_readme_is_what_one_sees() {
    let parts = parts(&fs::read_to_string(README).expect("there is a README"));
    assert!(parts.iter().map(|part| part.scenes.len()).sum::<usize>() >= 10, "the tour is gone");
    let mut stage = Stage::new();
    for part in parts {
        if part.is_served {
            stage.start("");
        }
        let mut terminals: Vec<JoinHandle<()>> = Vec::new();
        for mut scene in part.scenes {
            if let Some(flags) = scene
                .command
                .strip_prefix("parlour serve ")
                .and_then(|rest| rest.strip_suffix(" &"))
            {
                stage.start(flags);
                let said = stage.server.as_ref().expect("it runs").first_line.clone();
                compare(&scene, &stage.placed(&scene.answers().join("\n")), &said);
                continue;
            }
            scene.command = stage.placed(&scene.command);
            let shell = stage.shell(&scene.command);
            if scene.is_typed_into() {
                terminals.push(std::thread::spawn(move || type_and_read(&scene, shell)));
                continue;
            }
            join(&mut terminals);
            compare(&scene, &stage.placed(&scene.answers().join("\n")), &output(&scene, shell));
        }
        join(&mut terminals);
        stage.stop();
    }
}

fn join(terminals: &mut Vec<JoinHandle<()>>) {
    for terminal in terminals.drain(..) {
        if let Err(panic) = terminal.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Everything that a command answers.
fn output(scene: &Scene, mut shell: Command) -> String {
    let child = shell.stdin(Stdio::null()).spawn().expect("sh");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(PATIENCE);
    let output = output
        .unwrap_or_else(|_| panic!("README.md:{}: {} does not end", scene.line, scene.command));
    String::from_utf8(output.expect("it ran").stdout).expect("text")
}

/// Types what is to be typed once everything before it was answered; then says goodbye.
fn type_and_read(scene: &Scene, mut shell: Command) {
    let mut child = shell.stdin(Stdio::piped()).spawn().expect("sh");
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    for then in &scene.then {
        match then {
            Then::Typed(text) => writeln!(stdin, "{text}").expect("it reads"),
            Then::Answered(wanted) => {
                let line = lines.recv_timeout(PATIENCE);
                let line = line
                    .unwrap_or_else(|_| panic!("README.md:{}: {wanted:?} is not said", scene.line));
                assert!(matches(wanted, &line), "README.md:{}: {wanted:?} is {line:?}", scene.line);
            }
        }
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success(), "README.md:{}: it fails", scene.line);
}

fn compare(scene: &Scene, wanted: &str, said: &str) {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<VecDeque<_>>();
    assert!(
        all_match(&mut lines(wanted), &mut lines(said)),
        "README.md:{}: $ {}\n--- it should say\n{wanted}\n--- it says\n{said}",
        scene.line,
        scene.command
    );
}

fn all_match(wanted: &mut VecDeque<String>, said: &mut VecDeque<String>) -> bool {
    let Some(first) = wanted.pop_front() else { return said.is_empty() };
    if first.trim() == "…" {
        return (0..=said.len()).any(|skipped| {
            let mut rest = said.iter().skip(skipped).cloned().collect();
            all_match(&mut wanted.clone(), &mut rest)
        });
    }
    said.pop_front().is_some_and(|line| matches(&first, &line)) && all_match(wanted, said)
}

/// Whether a line is the wanted one, in which `…` stands for any text.
fn matches(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_any_text_and_any_lines_and_nothing_else_does() {
    assert!(matches("a…c", "abc") && matches("…", "") && matches("a…b…c", "a.b.b.c"));
    assert!(!matches("a…c", "abd") && !matches("a", "ab") && !matches("a…b…c", "a.c"));
    let all = |wanted: &[&str], said: &[&str]| {
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        all_match(&mut own(wanted), &mut own(said))
    };
    assert!(all(&["{", "…", "}"], &["{", "}", "}"]) && all(&["…"], &[]));
    assert!(
        !all(&["{", "…", "}"], &["{", "]"])
            && !all(&["a"], &["a", "b"])
            && !all(&["a", "b"], &["a"])
    );
}
