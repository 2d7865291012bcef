//! What an operator reads: columns for a person, JSON for a machine, from the same rows.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Rows under named columns.
#[derive(Debug)]
pub(super) struct Grid {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Grid {
    pub(super) fn new(columns: &'static [&'static str]) -> Grid {
        Grid { columns, rows: Vec::new() }
    }

    /// Adds a row, a value a column.
    pub(super) fn row(&mut self, values: Vec<Value>) {
        debug_assert_eq!(values.len(), self.columns.len());
        self.rows.push(values);
    }

    /// One object a row, by the columns' names.
    pub(super) fn json(&self) -> String {
        let object = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row);
            Value::Object(
                pairs
                    .map(|(name, value)| ((*name).to_owned(), value.clone()))
                    .collect::<Map<_, _>>(),
            )
        };
        let rows: Vec<Value> = self.rows.iter().map(object).collect();
        format!("{:#}", Value::Array(rows))
    }

    /// Columns that line up; numbers to the right.
    pub(super) fn table(&self) -> String {
        let shown: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(show).collect()).collect();
        let width = |column: usize| {
            let cells = shown.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        let mut line = |cells: &[String], values: Option<&Vec<Value>>| {
            let mut out = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let width = widths[column];
                let number = values.is_some_and(|values| values[column].is_number());
                let _ = if number {
                    write!(out, "{cell:>width$}  ")
                } else {
                    write!(out, "{cell:<width$}  ")
                };
            }
            text.push_str(out.trim_end());
            text.push('\n');
        };
        line(&self.columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), None);
        for (cells, values) in shown.iter().zip(&self.rows) {
            line(cells, Some(values));
        }
        text
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(" "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) | Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_json_names_them() {
        let mut grid = Grid::new(&["node", "slots", "draining"]);
        grid.row(vec!["a".into(), 341.into(), false.into()]);
        grid.row(vec!["room-2".into(), 7.into(), true.into()]);
        assert_eq!(grid.table(), "node    slots  draining\na         341  -\nroom-2      7  yes\n");
        let read: Value = serde_json::from_str(&grid.json()).expect("JSON");
        assert_eq!(read[1]["slots"], 7);
    }
}
