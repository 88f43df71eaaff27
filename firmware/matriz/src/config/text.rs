//! The text of a configuration, JSON or TOML, as values that know their line.
//!
//! Comes before [`super::keys`]: here only the grammar is judged. Both formats end as the same JSON
//! values, so everything after this file knows one format. The parsers' own messages are kept in
//! brackets at the end of ours, for those who know the format.

use super::ConfigError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// The two formats, told apart by the file's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
}

/// A text that is well-formed.
pub(super) struct Text {
    /// The keys and values.
    pub root: Map<String, Value>,
    /// The line of each key, from 1, by its path (`port`, `jack.server`).
    pub lines: BTreeMap<String, usize>,
}

/// A mistake at a place of the text, counted from 1.
pub(super) struct Fault {
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub what: String,
}

impl Fault {
    /// The mistake as it is told to people.
    pub fn in_file(self, file: &Path) -> ConfigError {
        let mut place = file.display().to_string();
        if let Some(line) = self.line {
            place += &format!(", line {line}");
        }
        if let Some(column) = self.column {
            place += &format!(", column {column}");
        }
        ConfigError::Wrong { place, what: self.what }
    }
}

/// Parses `text`; a byte order mark, which some editors write, is skipped.
pub(super) fn parse(text: &str, format: Format) -> Result<Text, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Json => json(text),
        Format::Toml => toml(text),
    }
}

/// The path of `key` inside table `parent` (empty: the top).
pub(super) fn path(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

fn json(text: &str) -> Result<Text, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Object(root)) => Ok(Text { root, lines: json_lines(text)? }),
        Ok(_) => Err(Fault {
            line: Some(1),
            column: None,
            what: "this must be keys and values in braces, such as {\"name\": \"porto\"}".to_owned(),
        }),
        Err(error) => {
            // Column 0 is the end of the line before.
            let (line, column) = match (error.line(), error.column()) {
                (line, 0) => (line.saturating_sub(1).max(1), None),
                (line, column) => (line, Some(column)),
            };
            let what = format!("this is not JSON: {}", json_words(&error, text));
            Err(Fault { line: Some(line), column, what })
        }
    }
}

/// What serde_json found wrong, for somebody who does not know the word "token".
fn json_words(error: &serde_json::Error, text: &str) -> String {
    if text.trim().is_empty() {
        return "the file is empty".to_owned();
    }
    let full = error.to_string();
    let detail = full.split(" at line ").next().unwrap_or(&full);
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
    let words = match detail {
        _ if !text.trim_start().starts_with(['{', '[']) => {
            "it must begin with {; if it is TOML, give the file a name that ends in .toml"
        }
        _ if line.contains(['\u{201c}', '\u{201d}', '\u{201e}']) => "the quotes must be straight ones: \"",
        "expected `,` or `}`" => "a comma or } is missing before this place",
        "expected `,` or `]`" => "a comma or ] is missing before this place",
        "expected `:`" => "a colon is missing between a key and its value",
        "trailing comma" => "there is a comma after the last value; take it away",
        "key must be a string" => "a key must be in quotes, and comments cannot be written in JSON",
        "trailing characters" => "there is something after the last }",
        "invalid escape" => "a backslash in a text must be written twice, or use / instead",
        "expected value" | "expected ident" => {
            "a value must be a text in quotes, a number, true, false, or a table in braces"
        }
        detail if detail.starts_with("control character") => "the closing quote of a text is missing",
        detail if detail.starts_with("EOF while parsing a string") => {
            "the closing quote of a text is missing"
        }
        detail if detail.starts_with("EOF") => "it ends too early; is the last } missing?",
        _ => return detail.to_owned(),
    };
    format!("{words} ({detail})")
}

/// Finds the line of every key of a well-formed JSON text: a string that a colon follows is a key.
fn json_lines(text: &str) -> Result<BTreeMap<String, usize>, Fault> {
    let mut lines = BTreeMap::new();
    let mut parents = Vec::<String>::new(); // the path of each object or list that is open here
    let mut last = String::new(); // the path of the last key
    let (mut at, mut line) = (0, 1);
    while let Some(byte) = text.as_bytes().get(at) {
        let mut end = at + 1;
        match byte {
            b'\n' => line += 1,
            // What is inside a list has no key: its place makes a path that nobody looks up.
            b'{' | b'[' if last.is_empty() && !parents.is_empty() => parents.push(format!("[{at}]")),
            b'{' | b'[' => parents.push(std::mem::take(&mut last)),
            b'}' | b']' => {
                parents.pop();
                last.clear();
            }
            b'"' => {
                end = string_end(text, at);
                if text[end..].trim_start().starts_with(':') {
                    let key: String = serde_json::from_str(&text[at..end]).unwrap_or_default();
                    last = path(parents.last().map_or("", String::as_str), &key);
                    if let Some(first) = lines.insert(last.clone(), line) {
                        return Err(twice(&key, first, line));
                    }
                }
            }
            _ => {}
        }
        at = end;
    }
    Ok(lines)
}

/// The byte after the closing quote of the JSON string that opens at `start`.
fn string_end(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (offset, byte) in text.bytes().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

fn twice(key: &str, first: usize, line: usize) -> Fault {
    let what = format!("\"{key}\" is written twice, the first time in line {first}; take one away");
    Fault { line: Some(line), column: None, what }
}

fn toml(text: &str) -> Result<Text, Fault> {
    let table = DeTable::parse(text).map_err(|error| toml_fault(&error, text))?;
    let mut lines = BTreeMap::new();
    let root = toml_table(table.get_ref(), "", text, &mut lines);
    Ok(Text { root, lines })
}

/// What the TOML parser found wrong, in plain words first.
fn toml_fault(error: &toml::de::Error, text: &str) -> Fault {
    let at = error.span().map_or(text.len(), |span| span.start);
    let (line, column) = (line_of(text, at), column_of(text, at));
    let detail = error.message();
    if detail.starts_with("duplicate key") {
        let what = format!("\"{}\" is written twice; take one away", error.span().map_or("", |s| &text[s]));
        return Fault { line: Some(line), column: None, what };
    }
    let words = match text.lines().nth(line - 1) {
        _ if text.trim_start().starts_with('{') => "it is JSON; give the file a name that ends in .json",
        Some(line) if line.contains(['\u{201c}', '\u{201d}', '\u{201e}']) => {
            "the quotes must be straight ones: \""
        }
        Some(line) if line.contains('\\') => "a backslash in a text must be written twice, or use / instead",
        _ => "a line must read key = value, with texts in \"quotes\"",
    };
    let what = format!("this is not TOML: {words} ({})", detail.replace('\n', ", "));
    Fault { line: Some(line), column: Some(column), what }
}

fn toml_table(
    table: &DeTable<'_>,
    parent: &str,
    text: &str,
    lines: &mut BTreeMap<String, usize>,
) -> Map<String, Value> {
    let mut values = Map::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let path = path(parent, &name);
        let value = toml_value(value, &path, text, lines);
        lines.insert(path, line_of(text, key.span().start));
        values.insert(name, value);
    }
    values
}

/// One TOML value as JSON. What JSON lacks (dates, infinities) becomes its text, which no key that
/// wants something else accepts.
fn toml_value(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    text: &str,
    lines: &mut BTreeMap<String, usize>,
) -> Value {
    match value.get_ref() {
        DeValue::String(string) => Value::from(string.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => integer(number).map_or_else(|| Value::from(number.as_str()), Value::from),
        DeValue::Float(number) => {
            let float: Option<f64> = number.as_str().parse().ok();
            float
                .and_then(serde_json::Number::from_f64)
                .map_or_else(|| Value::from(number.as_str()), Value::Number)
        }
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(list) => list.iter().map(|value| toml_value(value, path, text, lines)).collect(),
        DeValue::Table(table) => Value::Object(toml_table(table, path, text, lines)),
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The line of byte `at`, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The column of byte `at` in characters, from 1.
fn column_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.rsplit('\n').next().unwrap_or("").chars().count() + 1
}
