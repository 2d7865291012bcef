//! Reading a conversation, line by line: a compressed one is never unpacked as a whole.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::line::Line;
use super::script::Script;

/// Bytes of one line; the longest text is escaped sixfold at most.
const LINE_BYTES_MAX: u64 = 8 * model::limits::TEXT_BYTES_MAX as u64;
/// With what a zstd frame begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why a conversation cannot be read; a sentence that names the file and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(String);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

/// The scripts of the first `rooms_max` rooms, in order of appearance.
///
/// # Errors
/// [`ReadError`], which names the first line that is not one.
pub fn read(path: &Path, rooms_max: usize) -> Result<Vec<Script>, ReadError> {
    let name = path.display();
    let io = |error: std::io::Error| ReadError(format!("{name}: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let scripts = match file.fill_buf().map_err(io)?.starts_with(&ZSTD_MAGIC) {
        true => {
            let unpacked = zstd::stream::read::Decoder::with_buffer(file).map_err(io)?;
            scripts(BufReader::new(unpacked), rooms_max)
        }
        false => scripts(file, rooms_max),
    };
    scripts.map_err(|fault| ReadError(format!("{name}:{fault}")))
}

/// A fault begins with the number of its line.
fn scripts(mut input: impl BufRead, rooms_max: usize) -> Result<Vec<Script>, String> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut by_room: HashMap<String, usize> = HashMap::new();
    let mut text = String::new();
    for number in 1_u64.. {
        text.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_line(&mut text);
        match read.map_err(|error| format!("{number}: {error}"))? as u64 {
            0 => break,
            LINE_BYTES_MAX => return Err(format!("{number}: longer than {LINE_BYTES_MAX} bytes")),
            _ if text.trim().is_empty() => continue,
            _ => {}
        }
        let line: Line =
            serde_json::from_str(&text).map_err(|error| format!("{number}: {error}"))?;
        let room = match by_room.get(&line.room) {
            Some(room) => *room,
            None if scripts.len() >= rooms_max => continue,
            None => {
                let script =
                    Script::new(&line.room).map_err(|error| format!("{number}: {error}"))?;
                scripts.push(script);
                by_room.insert(line.room.clone(), scripts.len() - 1);
                scripts.len() - 1
            }
        };
        scripts[room].add(line).map_err(|fault| format!("{number}: {fault}"))?;
    }
    Ok(scripts)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn tea() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tea.jsonl"))
    }

    #[test]
    fn a_plain_and_a_compressed_conversation_read_the_same() {
        let plain = read(&tea(), usize::MAX).expect("our own file");
        let packed_path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
        let bytes = std::fs::read(tea()).expect("our own file");
        std::fs::write(&packed_path, zstd::encode_all(&*bytes, 3).expect("packs")).expect("writes");
        let packed = read(&packed_path, usize::MAX).expect("the same file");
        assert_eq!(plain.len(), 2);
        for (plain, packed) in plain.iter().zip(&packed) {
            assert_eq!((&plain.room, &plain.steps), (&packed.room, &packed.steps));
        }
    }

    #[test]
    fn only_the_first_rooms_are_read_if_so_wished() {
        let scripts = read(&tea(), 1).expect("our own file");
        assert_eq!(scripts.len(), 1);
        assert_eq!(scripts[0].room.as_str(), "tea-2004-11-15");
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let good = r#"{"at_ms":1,"room":"r","kind":"join","user":"a"}"#;
        for (bad, why) in [
            ("{", "EOF"),
            (r#"{"at_ms":1,"room":"r","kind":"sing","user":"a"}"#, "unknown variant"),
            (r#"{"at_ms":1,"room":"a b","kind":"join","user":"a"}"#, "the room's name"),
            (r#"{"at_ms":1,"room":"r","kind":"message","user":""}"#, "the user has 0 bytes"),
        ] {
            let fault =
                scripts(format!("{good}\n\n{bad}\n").as_bytes(), 9).expect_err("a bad line");
            assert!(fault.starts_with("3: ") && fault.contains(why), "{fault}");
        }
        let endless = scripts(BufReader::new(std::io::repeat(b'x')), 9);
        assert!(endless.is_err(), "a line has an end");
    }
}
