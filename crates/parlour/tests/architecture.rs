//! Holds the table "Who may know whom" of ARCHITECTURE.md against what the manifests say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const TABLE_HEADER: &str = "| crate | kind | may import | never imports |";

/// What no pure crate reaches, whatever its row says.
const IMPURE: [&str; 5] = ["tokio", "tonic", "prost", "getrandom", "rand"];

type Names = BTreeSet<String>;

struct Row {
    pure: bool,
    may_import: Names,
    never_imports: Names,
}

#[test]
fn every_crate_imports_only_what_architecture_md_allows() {
    let table = table(&read("ARCHITECTURE.md"));
    let graph = Graph::of(&metadata());
    let faults = faults(&table, &graph);
    assert!(
        faults.is_empty(),
        "ARCHITECTURE.md and the manifests disagree:\n{}",
        faults.join("\n")
    );
}

#[test]
fn a_forbidden_import_is_found_however_far_away() {
    let table = table(&format!(
        "{TABLE_HEADER}\n|---|---|---|---|\n\
         | `room` | pure | `model` | – |\n\
         | `model` | pure | – | – |\n\
         | `edge` | shell | `model` | `fjall` |\n\
         | `gone` | shell | – | – |\n"
    ));
    let graph = Graph {
        ours: names(["room", "model", "edge", "new"]),
        edges: [
            ("room", vec!["model", "edge"]),
            ("model", vec!["bytes"]),
            ("bytes", vec!["rand"]),
            ("edge", vec!["model", "store"]),
            ("store", vec!["fjall"]),
            ("new", vec![]),
        ]
        .into_iter()
        .map(|(from, to)| (from.to_owned(), names(to)))
        .collect(),
    };
    assert_eq!(
        faults(&table, &graph),
        [
            "edge must not reach fjall: edge -> store -> fjall",
            "gone stands in the table and is not a crate",
            "model must not reach rand: model -> bytes -> rand",
            "new is a crate and does not stand in the table",
            "room may not import edge",
            "room must not reach rand: room -> model -> bytes -> rand",
        ]
    );
}

fn faults(table: &BTreeMap<String, Row>, graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for name in graph.ours.iter().filter(|name| !table.contains_key(*name)) {
        faults.push(format!("{name} is a crate and does not stand in the table"));
    }
    for (name, row) in table {
        if !graph.ours.contains(name) {
            faults.push(format!("{name} stands in the table and is not a crate"));
            continue;
        }
        for import in graph.imports(name) {
            if graph.ours.contains(import) && !row.may_import.contains(import) {
                faults.push(format!("{name} may not import {import}"));
            }
        }
        let impure = IMPURE.iter().filter(|_| row.pure).map(ToString::to_string);
        for never in row.never_imports.iter().cloned().chain(impure).collect::<Names>() {
            if let Some(path) = graph.path(name, &never) {
                faults.push(format!("{name} must not reach {never}: {}", path.join(" -> ")));
            }
        }
    }
    faults.sort();
    faults
}

/// Normal dependencies by package name; ours are called as in the table, without the prefix.
struct Graph {
    ours: Names,
    edges: BTreeMap<String, Names>,
}

impl Graph {
    fn of(metadata: &Value) -> Self {
        let members: BTreeSet<&str> = list(&metadata["workspace_members"]).map(string).collect();
        let names_by_id: BTreeMap<&str, String> = list(&metadata["packages"])
            .map(|package| {
                let id = string(&package["id"]);
                let name = string(&package["name"]);
                let ours = members.contains(id).then(|| name.strip_prefix("parlour-"));
                (id, ours.flatten().unwrap_or(name).to_owned())
            })
            .collect();

        let mut edges: BTreeMap<String, Names> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let normal = list(&node["deps"])
                .filter(|dep| list(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()))
                .map(|dep| names_by_id[string(&dep["pkg"])].clone());
            // Several versions of a package are one here.
            let from = names_by_id[string(&node["id"])].clone();
            edges.entry(from).or_default().extend(normal);
        }
        Self { ours: members.iter().map(|id| names_by_id[id].clone()).collect(), edges }
    }

    fn imports(&self, name: &str) -> impl Iterator<Item = &String> {
        self.edges.get(name).into_iter().flatten()
    }

    /// A shortest way from one package to another.
    fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut seen = names([from]);
        let mut paths = vec![vec![from.to_owned()]];
        while !paths.is_empty() {
            let mut longer = Vec::new();
            for path in paths {
                for next in self.imports(&path[path.len() - 1]) {
                    let path = [path.clone(), vec![next.clone()]].concat();
                    if next == to {
                        return Some(path);
                    }
                    if seen.insert(next.clone()) {
                        longer.push(path);
                    }
                }
            }
            paths = longer;
        }
        None
    }
}

fn table(page: &str) -> BTreeMap<String, Row> {
    let rows: BTreeMap<String, Row> = page
        .lines()
        .skip_while(|line| *line != TABLE_HEADER)
        .skip(2) // the header and the line under it
        .take_while(|line| line.starts_with('|'))
        .map(row)
        .collect();
    assert!(!rows.is_empty(), "no table {TABLE_HEADER:?} was found");
    rows
}

fn row(line: &str) -> (String, Row) {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, kind, may_import, never_imports] = cells[..] else {
        panic!("not four cells: {line}");
    };
    assert!(["pure", "shell"].contains(&kind), "what kind is this? {line}");
    let row = Row {
        pure: kind == "pure",
        may_import: quoted(may_import),
        never_imports: quoted(never_imports),
    };
    (name.trim_matches('`').to_owned(), row)
}

/// The names between backticks.
fn quoted(cell: &str) -> Names {
    names(cell.split('`').skip(1).step_by(2))
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(str::to_owned).collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(host())
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

/// This machine's target: without it cargo would fetch packages that only other systems need.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let about = String::from_utf8(output.stdout).expect("rustc writes text");
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc -vV names the host").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a string here")
}
